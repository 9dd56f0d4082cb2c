"""CLAP (Wu et al. 2023) as Hugging Face's transformers keep it, of any size."""

from collections.abc import Sequence

import numpy as np

from atbert_jax.models import htsat
from atbert_jax.weights import bert_rules, engine, text_encoder
from atbert_jax.weights.engine import (
    Arrays,
    Rule,
    batch_norm,
    convolution,
    layer_norm,
    linear,
)

FAMILY = "clap"
TEXT, AUDIO = "text_model.", "audio_model.audio_encoder."
POSITIONS, TYPES = f"{TEXT}{text_encoder.POSITIONS}", f"{TEXT}{text_encoder.TYPES}"
EAR = "model/audio_encoder"
# Of the objective that compares clips with texts.
SCALE = "objectives/alignment/log_scale"
UNUSED = {
    r"\.token_type_embeddings\.": "row 0 is added into the positions",
    r"\.embeddings\.(position_ids|token_type_ids)$": "a buffer of constants",
    r"\.relative_position_index$": "a buffer of constants",
    r"\.num_batches_tracked$": "a count of steps",
    r"^logit_scale_t$": "the temperature from text to audio; here one serves both ways",
}


def rules(text_layers: int, depths: tuple[int, ...], *, fused: bool) -> list[Rule]:
    """Those of a CLAP with so many layers of RoBERTa, and so many in each stage of HTSAT."""
    found = [
        Rule(f"{TEXT}{rule.theirs}", rule.ours, rule.axes) for rule in bert_rules.rules(text_layers)
    ]
    found += linear(f"{TEXT}pooler.dense", "model/pooler")
    for side in ("text", "audio"):
        theirs, ours = f"{side}_projection.linear", f"model/{side}_projection"
        found += [*linear(f"{theirs}1", f"{ours}/first"), *linear(f"{theirs}2", f"{ours}/second")]
    found += [
        Rule("logit_scale_a", SCALE),
        *batch_norm(f"{AUDIO}batch_norm", f"{EAR}/band_norm"),
        *_patches(f"{AUDIO}patch_embed.", f"{EAR}/patches", fused=fused),
    ]
    for stage, depth in enumerate(depths):
        for block in range(depth):
            layer = f"{AUDIO}layers.{stage}.blocks.{block}."
            found += _swin_layer(layer, f"{EAR}/stages/{stage}/{block}")
        if stage + 1 < len(depths):
            theirs, ours = f"{AUDIO}layers.{stage}.downsample.", f"{EAR}/mergings/{stage}"
            found += layer_norm(f"{theirs}norm", f"{ours}/norm")
            found.append(Rule(f"{theirs}reduction.weight", f"{ours}/reduction/kernel", (1, 0)))
    return [*found, *layer_norm(f"{AUDIO}norm", f"{EAR}/norm")]


def _patches(theirs: str, ours: str, *, fused: bool) -> list[Rule]:
    found = [*_biased_convolution(f"{theirs}proj", f"{ours}/whole")]
    found += layer_norm(f"{theirs}norm", f"{ours}/norm")
    if not fused:
        return found
    found += _biased_convolution(f"{theirs}mel_conv2d", f"{ours}/crops")
    # The second begins with the mean over places, which has no arrays.
    for name, part, first in (("local_att", "local", 0), ("global_att", "overall", 1)):
        there, here = f"{theirs}fusion_model.{name}.", f"{ours}/{part}"
        found += [
            *linear(f"{there}{first}", f"{here}/narrow"),
            *batch_norm(f"{there}{first + 1}", f"{here}/narrow_norm"),
            *linear(f"{there}{first + 3}", f"{here}/widen"),
            *batch_norm(f"{there}{first + 4}", f"{here}/widen_norm"),
        ]
    return found


def _biased_convolution(theirs: str, ours: str) -> list[Rule]:
    return [*convolution(theirs, ours), Rule(f"{theirs}.bias", f"{ours}/bias")]


def _swin_layer(theirs: str, ours: str) -> list[Rule]:
    attention = f"{theirs}attention.self."
    return [
        *layer_norm(f"{theirs}layernorm_before", f"{ours}/attention_norm"),
        Rule(f"{attention}relative_position_bias_table", f"{ours}/place_bias"),
        *linear(f"{attention}query", f"{ours}/query"),
        *linear(f"{attention}key", f"{ours}/key"),
        *linear(f"{attention}value", f"{ours}/value"),
        *linear(f"{theirs}attention.output.dense", f"{ours}/attention_output"),
        *layer_norm(f"{theirs}layernorm_after", f"{ours}/ffn_norm"),
        *linear(f"{theirs}intermediate.dense", f"{ours}/ffn"),
        *linear(f"{theirs}output.dense", f"{ours}/ffn_output"),
    ]


def prepared(where: str, theirs: Arrays, padding: int, tokens: int) -> Arrays:
    """Their arrays as the rules take them.

    RoBERTa counts positions from behind that of padding, so the rows before have no use; the row of
    the one token type is added to all. A convolution of one place is a matrix.

    Args:
        where: The source, for messages.
        theirs: By PyTorch's names.
        padding: Id of the padding token.
        tokens: Of the longest text; positions behind it are left out.

    Raises:
        ValueError: if the source has no token types, or too few positions.
    """
    for name in (POSITIONS, TYPES):
        if name not in theirs:
            raise ValueError(f"{where} lacks {name}; is the file whole?")
    rows = theirs[POSITIONS].astype(np.float32)[padding + 1 :][:tokens]
    if len(rows) < tokens:
        raise ValueError(
            f"{where} has positions for {len(rows)} tokens, but texts have up to {tokens}"
        )
    theirs = theirs | {POSITIONS: rows + theirs[TYPES][0].astype(np.float32)}
    return {
        name: array[:, :, 0, 0] if ".fusion_model." in name and array.ndim == 4 else array
        for name, array in theirs.items()
    }


def whole(theirs: Arrays, padding: int, stages: Sequence[int]) -> Arrays:
    """All arrays of transformers' `ClapModel`, in the order of their names: `prepared`, undone.

    Token types are zeros, as are the positions before the first one; counts of steps start anew,
    and one temperature serves both ways.

    Args:
        theirs: Of the rules, by PyTorch's names.
        padding: Id of the padding token.
        stages: Layers of each stage of HTSAT.
    """
    rows, hidden = theirs[POSITIONS].shape
    positions = np.zeros((padding + 1 + rows, hidden), np.float32)
    positions[padding + 1 :] = theirs[POSITIONS]
    numbers = np.arange(len(positions), dtype=np.int64)[None]
    made = {
        POSITIONS: positions,
        TYPES: np.zeros((1, hidden), np.float32),
        f"{TEXT}embeddings.position_ids": numbers,
        f"{TEXT}embeddings.token_type_ids": np.zeros_like(numbers),
        "logit_scale_t": theirs["logit_scale_a"],
    }
    places = htsat.window_places(htsat.WINDOW).astype(np.int64)
    for stage, depth in enumerate(stages):
        for block in range(depth):
            layer = f"{AUDIO}layers.{stage}.blocks.{block}."
            made[f"{layer}attention.self.relative_position_index"] = places
    for name, array in theirs.items():
        if name.endswith(".running_mean"):
            count = name.replace(".running_mean", ".num_batches_tracked")
            made[count] = np.zeros((), np.int64)
        elif ".fusion_model." in name and array.ndim == 2:
            made[name] = array[:, :, None, None]
    return dict(sorted((theirs | made).items()))


def to_ours(
    where: str, theirs: Arrays, text_layers: int, depths: tuple[int, ...], *, fused: bool
) -> tuple[Arrays, list[tuple], dict[str, str]]:
    """See `engine.to_ours`; `theirs` are `prepared`."""
    wanted = rules(text_layers, depths, fused=fused)
    return engine.to_ours(where, wanted, theirs, UNUSED)
