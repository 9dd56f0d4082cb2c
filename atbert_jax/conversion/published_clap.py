"""CLAP as transformers' `ClapModel` has it, as the folder of a run, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from atbert_jax.configs import clap_pretrain
from atbert_jax.conversion.published_tagger import require_sizes
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.models import htsat
from atbert_jax.training.trained import Trained
from atbert_jax.weights import clap_rules, engine, text_encoder
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import FRONT_END, Source

FAMILY = clap_rules.FAMILY
# What `config.json` leaves out is like this; first RoBERTa's part.
TEXT = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "pad_token_id": 1,
    "hidden_dropout_prob": 0.1,
}
EAR = {
    "patch_embeds_hidden_size": 96,
    "depths": (2, 2, 6, 2),
    "num_attention_heads": (4, 8, 16, 32),
    "enable_fusion": False,
}
# What HTSAT is here, and no other.
FIXED = {
    "window_size": htsat.WINDOW,
    "num_mel_bins": htsat.BANDS,
    "spec_size": htsat.PICTURE,
    "patch_size": htsat.PATCH,
    "patch_stride": [htsat.PATCH, htsat.PATCH],
    "patch_embed_input_channels": 1,
    "mlp_ratio": float(htsat.WIDENING),
    "aff_block_r": htsat.NARROWING,
    "qkv_bias": True,
    "flatten_patch_embeds": True,
    "enable_patch_layer_norm": True,
    "hidden_act": "gelu",
    "layer_norm_eps": htsat.EPSILON,
}
# And the front end: what `preprocessor_config.json` says, by the names of `config.spectrogram`.
HEARS = {
    "sampling_rate": "sample_rate",
    "fft_window_size": "n_fft",
    "hop_length": "hop_length",
    "feature_size": "n_mels",
    "frequency_min": "f_min",
    "frequency_max": "f_max",
}
# The least power of a band.
SILENCE = 1e-10


def published_config(source: Source, name: str) -> ml_collections.ConfigDict:
    """The config of a run with this model.

    Args:
        source: Of `files.read_pytorch`: a folder with `config.json` and `preprocessor_config.json`.
        name: What to call it in reports.

    Raises:
        ValueError: if it is no CLAP, or one that this model cannot be; the message names the field.
        OSError: if a file is missing.
    """
    where = text_encoder.where(source)
    if source.config.get("model_type") != FAMILY:
        raise ValueError(
            f"{where}: not there, or not that of a CLAP (model_type"
            f" {source.config.get('model_type')!r}); give a folder that `ClapModel.save_pretrained`"
            " wrote"
        )
    text = TEXT | _part(source, "text_config")
    ear = EAR | _part(source, "audio_config")
    of_text = Source(source.path, source.arrays, text | {"model_type": "clap_text_model"})
    activation = text_encoder.require(of_text, "clap_text_model", "gelu")
    _require(where, "audio_config.", ear, FIXED)
    _require(where, "", source.config, {"projection_hidden_act": "relu"})
    fused = bool(ear["enable_fusion"])
    if fused and ear.get("fusion_type") == "channel_map":
        raise ValueError(
            f"{where}: audio_config.fusion_type is 'channel_map'; only attentional fusion is here"
        )
    config = clap_pretrain.get_config("fused" if fused else "unfused")
    config.model.update(
        {
            "hidden": text["hidden_size"],
            "heads": text_encoder.count(of_text, "num_attention_heads"),
            "layers": text_encoder.count(of_text, "num_hidden_layers"),
            "ffn": text["intermediate_size"],
            "activation": activation,
            "dropout": float(text["hidden_dropout_prob"]),
        }
    )
    config.clap.update(
        {
            "patch_width": ear["patch_embeds_hidden_size"],
            "depths": tuple(ear["depths"]),
            "heads": tuple(ear["num_attention_heads"]),
            "projection": source.config.get("projection_dim", 512),
        }
    )
    room = text["max_position_embeddings"] - text["pad_token_id"] - 1
    # Longer texts are cut, as LAION trained.
    config.text.max_tokens = min(config.text.max_tokens, room)
    config.init.audio = name  # so that reports say where it comes from
    _hear(config, source)
    return config


def _hear(config: ml_collections.ConfigDict, source: Source) -> None:
    """Sets the front end to that of `preprocessor_config.json`."""
    file = source.path.parent / FRONT_END
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: not there, and it says what the model hears; get it from where the weights"
            " came from"
        )
    told = whole_file.read_json(file, "get it anew")
    if lacking := [name for name in (*HEARS, "max_length_s") if name not in told]:
        raise ValueError(f"{file}: lacks {', '.join(lacking)}; get it anew")
    expected = {"padding": "repeatpad", "truncation": _truncation(config.clap.fused)}
    _require(str(file), "", expected | told, expected | {"top_db": None})
    numbers = {ours: told[theirs] for theirs, ours in HEARS.items()}
    numbers |= {edge: float(numbers[edge]) for edge in ("f_min", "f_max")}
    config.spectrogram.update(numbers)
    config.segmenting.seconds = float(told["max_length_s"])


def contract(config: ml_collections.ConfigDict, source: Source, tokenizer: Any) -> Contract:
    """The contract of a run with this model.

    Raises:
        ValueError: if the tokenizer is of another model.
    """
    made = make_contract(config, tokenizer, Labels())
    rows = (TEXT | _part(source, "text_config"))["vocab_size"]
    pieces = 1 + max(tokenizer.get_vocab().values())
    padding = (TEXT | _part(source, "text_config"))["pad_token_id"]
    if pieces > rows or tokenizer.pad_token_id != padding:
        raise ValueError(
            f"{source.path.parent}: the tokenizer has {pieces} pieces and pads with"
            f" {tokenizer.pad_token_id}, the model has vectors of {rows} and pads with {padding};"
            " its files are of another model"
        )
    return dataclasses.replace(made, vocabulary=rows)


def from_pytorch(
    source: Source, config: ml_collections.ConfigDict, contract: Contract
) -> Conversion:
    """CLAP's arrays by our names.

    Args:
        source: See `published_config`.
        config: Of `published_config`.
        contract: Of `contract`.

    Raises:
        ValueError: if arrays are missing, of other sizes than `config.json` says, or not known.
    """
    where = str(source.path)
    padding = (TEXT | _part(source, "text_config"))["pad_token_id"]
    theirs = clap_rules.prepared(where, source.arrays, padding, contract.max_tokens)
    arrays, taken, unused = clap_rules.to_ours(
        where, theirs, config.model.layers, tuple(config.clap.depths), fused=config.clap.fused
    )
    require_sizes(
        where, arrays, config, contract, "not as its config.json says", "get both files anew"
    )
    return Conversion(arrays, {}, taken, unused, {})


def to_pytorch(model: Trained) -> Conversion:
    """A trained CLAP as transformers' `ClapModel`, for a strict load.

    Args:
        model: From the folder of a run.

    Raises:
        ValueError: if the model is no CLAP.
    """
    config, name = model.config, model.config.model.name
    if name != FAMILY:
        raise ValueError(f"{model.workdir}: a run of {name}, not of {FAMILY}; give one of {FAMILY}")
    arrays, missing = jax.device_get(engine.flat(model.params, model.statistics)), {}
    if clap_rules.SCALE not in arrays:
        scale = np.log(1 / config.alignment.temperature)
        arrays[clap_rules.SCALE] = np.asarray(scale, np.float32)
        missing["logit_scale_a"] = "not trained here: config.alignment.temperature"
    depths = tuple(config.clap.depths)
    rules = clap_rules.rules(config.model.layers, depths, fused=config.clap.fused)
    target, taken, unused = engine.to_theirs(
        str(model.workdir), rules, arrays, "no part of the model"
    )
    padding = model.tokenizer.pad_token_id
    whole = clap_rules.whole(target, padding, depths)
    missing |= dict.fromkeys(whole.keys() - target.keys(), "made anew")
    return Conversion(whole, _about(model), taken, unused, missing)


def _about(model: Trained) -> dict[str, Any]:
    """What `config.json` says."""
    sizes, settings, tokenizer = model.config.model, model.config.clap, model.tokenizer
    stages = len(settings.depths)
    text = {
        "model_type": "clap_text_model",
        "vocab_size": model.contract.vocabulary,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.ffn,
        "hidden_act": text_encoder.ACTIVATIONS[sizes.activation][0],
        "hidden_dropout_prob": sizes.dropout,
        "max_position_embeddings": model.contract.max_tokens + tokenizer.pad_token_id + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": text_encoder.EPSILON,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    ear = FIXED | {
        "model_type": "clap_audio_model",
        "patch_size": htsat.PATCH,
        "patch_embeds_hidden_size": settings.patch_width,
        "hidden_size": settings.patch_width * 2 ** (stages - 1),
        "depths": list(settings.depths),
        "num_attention_heads": list(settings.heads),
        "num_hidden_layers": stages,
        "hidden_dropout_prob": sizes.dropout,
        "enable_fusion": settings.fused,
        "fusion_type": "aff_2d" if settings.fused else None,
    }
    return {
        "architectures": ["ClapModel"],
        "model_type": FAMILY,
        "text_config": text,
        "audio_config": ear,
        "projection_dim": settings.projection,
        "projection_hidden_act": "relu",
    }


def front_end(model: Trained) -> dict[str, Any]:
    """What `preprocessor_config.json` says.

    Raises:
        ValueError: if transformers cannot hear as the model does; the message names the fields.
    """
    spectrogram, fused = model.contract.spectrogram, model.config.clap.fused
    seconds = model.contract.segmenting.seconds
    scale = "htk" if fused else "slaney"
    fixed = {"mel_scale": scale, "power": 2.0, "log_floor": SILENCE}
    differ = [
        f"config.spectrogram.{name}={getattr(spectrogram, name)!r} instead of {value!r}"
        for name, value in fixed.items()
        if getattr(spectrogram, name) != value
    ]
    segments = model.contract.segmenting.segments
    if segments > 1 and not fused:
        differ.append(f"config.segmenting.segments={segments} instead of 1")
    if seconds % 1:
        differ.append(f"config.segmenting.seconds={seconds:g} instead of a whole number")
    if differ:
        raise ValueError(
            f"{model.workdir}: transformers cannot hear as this model does: {', '.join(differ)};"
            " train one that hears as they do"
        )
    numbers = {theirs: getattr(spectrogram, ours) for theirs, ours in HEARS.items()}
    return numbers | {
        "feature_extractor_type": "ClapFeatureExtractor",
        "processor_class": "ClapProcessor",
        "frequency_max": spectrogram.top_frequency,
        "max_length_s": int(seconds),
        "padding": "repeatpad",
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "top_db": None,
        "truncation": _truncation(fused),
    }


def _truncation(fused: bool) -> str:
    return "fusion" if fused else "rand_trunc"


def _part(source: Source, name: str) -> Mapping[str, Any]:
    return source.config.get(name) or {}


def _require(where: str, prefix: str, found: Mapping[str, Any], expected: Mapping) -> None:
    for name, value in expected.items():
        given = found.get(name, value)
        given = list(given) if isinstance(given, tuple) else given
        given = given[0] if name == "patch_size" and isinstance(given, list) else given
        if given != value and given != (value[0] if isinstance(value, list) else value):
            raise ValueError(f"{where}: {prefix}{name} is {given!r}; only {value!r} is here")
