"""Starting parts of a trunk from weights of their own: of PyTorch, or of a trained tagger."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections
import numpy as np

from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.models import taggers
from atbert_jax.training import run_folder, sameness, transfer
from atbert_jax.training.state import TrainState
from atbert_jax.weights import albert_rules, bert_rules, engine, files, resnet_rules

# Which families a field of `config.init` starts from; a tagger as audio encoder, from its own run.
FAMILIES = {
    "text": {albert_rules.FAMILY: albert_rules, bert_rules.FAMILY: bert_rules},
    "audio": {resnet_rules.FAMILY: resnet_rules},
}
# What the run of a tagger calls the network, and what others call it that hear with one.
NETWORK, AUDIO_CNN = "model/network/", "model/audio_cnn/"
# The network that a CLAP hears with, what its sizes are, and what CLAP and the network call it.
CLAP, HTSAT, HTSAT_SIZES = "clap", "htsat", ("patch_width", "depths", "heads")
OF_CLAP, OF_NETWORK = "model/audio_encoder/", "encoder/"
# Parts of a network that stay behind where they are not wanted: MusiCNN's dense layer where the
# poolings themselves are heard, and of a CLAP with fusion what hears crops.
OPTIONAL = ("dense/", *(f"patches/{name}/" for name in ("crops", "local", "overall")))


# The defaults of `config.init`.
DEFAULTS = {
    "text": "",  # folder of `atbert convert`: an ALBERT or a BERT to start from
    # Likewise a ResNet; or the run of a tagger, or of what hears with one, for the same one here,
    # as that of a CLAP for HTSAT; also as `atbert push` gives them away.
    "audio": "",
}


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted folder.

    Attributes:
        folder: Where it is.
        family: Module of its family.
        about: Its sizes.
    """

    folder: Path
    family: ModuleType
    about: dict[str, Any]


def find(config: ml_collections.ConfigDict) -> list[Converted]:
    """The converted folders that `config.init` names; all that it names fits the model.

    Raises:
        ValueError: if one is not there, is of another family, or of other sizes than the model, or
            heard something else; the message names the fields to set.
    """
    found = []
    for field, families in FAMILIES.items():
        if not config.init[field]:
            continue
        if config.init_from:
            raise ValueError(
                f"config.init.{field}={config.init[field]!r} and config.init_from="
                f"{config.init_from!r} both bring a trunk; use one of them"
            )
        folder = Path(config.init[field])
        if field == "audio" and _ears(config) in taggers.NETWORKS:
            _require_network(folder, config)
            continue
        about = files.read_about(folder, list(families))
        family = families[about["family"]]
        _require_sizes(folder, family.SIZES, about, config, "model")
        if family is bert_rules and config.model.layers > about["layers"]:
            raise ValueError(
                f"{folder} has {about['layers']} layers, fewer than config.model.layers="
                f"{config.model.layers}; set --config.model.layers={about['layers']} or less"
            )
        found.append(Converted(folder, family, about))
        if field == "text":
            _require_text(folder, about, config.text)
    return found


def _ears(config: ml_collections.ConfigDict) -> str:
    """The network that a model hears with: the tagger that it is, or its audio encoder."""
    model = config.model
    if model.name == CLAP:
        return HTSAT
    return model.name if model.name in taggers.NETWORKS else model.audio_encoder


def _place(config: ml_collections.ConfigDict) -> str:
    """What the names of the arrays begin with that are those of its ears."""
    if config.model.name == CLAP:
        return OF_CLAP
    ears = _ears(config)
    return (NETWORK if ears == config.model.name else AUDIO_CNN) + OF_NETWORK * (ears == HTSAT)


def _require_network(folder: Path, config: ml_collections.ConfigDict) -> None:
    """Checks that a run is of the tagger that is wanted, and that it heard the same."""
    there, wanted = run_folder.load_config(folder), _ears(config)
    if (found := _ears(there)) != wanted and config.model.name == CLAP:
        raise ValueError(
            f"config.init.audio={str(folder)!r} is a run of {found}, but a CLAP hears with {HTSAT};"
            f" use a run of {HTSAT} or of a CLAP"
        )
    if found != wanted:
        field = "name" if wanted == config.model.name else "audio_encoder"
        raise ValueError(
            f"config.init.audio={str(folder)!r} is a run of {found}, but"
            f" config.model.{field}={wanted!r}; use a run of {wanted}, or set"
            f" --config.model.{field}={found}"
        )
    fields = (
        sameness.fields(each.spectrogram) | {"top_db": each.tagger.get("top_db", 0.0)}
        for each in (there, config)
    )
    if differ := sameness.changes(*fields, free=()):
        raise ValueError(
            f"{folder} heard with another front end ({differ}); set these fields of"
            " config.spectrogram (top_db: of config.tagger) as they are there"
        )
    if wanted == HTSAT:
        _require_sizes(folder, HTSAT_SIZES, there.clap, config, "clap")


def _from_tagger(
    state: TrainState, folder: Path, prefix: str
) -> tuple[TrainState, list[str], list[str]]:
    """The state with what a tagger's run, or one given away, hears with, as `prefix` names it."""
    there = _place(run_folder.load_config(folder))
    step, found = transfer.read_best(folder)
    arrays = {
        prefix + name.removeprefix(there): array
        for name, array in found.items()
        if name.startswith(there)  # all behind it stays behind
    }
    wanted = {n for n in engine.flat(state.params, state.statistics) if n.startswith(prefix)}
    optional = tuple(prefix + part for part in OPTIONAL)
    left = [name for name in arrays if name.startswith(optional) and name not in wanted]
    if lacking := sorted(wanted - arrays.keys()):
        raise ValueError(
            f"{folder} has no {engine.listed(lacking)}; its config.tagger or config.clap is another"
        )
    arrays = {name: array for name, array in arrays.items() if name not in left}
    state, names, _ = _fill(state, arrays, str, folder)
    lines = [f"from {folder}, step {step}: {len(names)} arrays taken over"]
    return state, names, lines + [f"  not used here: {', '.join(left)}"] * bool(left)


def _require_sizes(
    folder: Path,
    sizes: tuple[str, ...],
    about: Mapping[str, Any],
    config: ml_collections.ConfigDict,
    section: str,
) -> None:
    pairs = {name: (_as_flag(about[name]), _as_flag(config[section][name])) for name in sizes}
    differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if differ:
        unlike = ", ".join(
            f"{name} {there} there, {here} here" for name, (there, here) in differ.items()
        )
        flags = " ".join(
            f"--config.{section}.{name}={there}" for name, (there, _) in differ.items()
        )
        raise ValueError(f"{folder} does not fit the model: {unlike}; set {flags}")


def _as_flag(value: Any) -> str:
    """A value as the command line wants it."""
    if isinstance(value, list | tuple):
        return f"'({','.join(map(str, value))},)'"
    return str(value)


def _require_text(folder: Path, about: dict, settings: ml_collections.ConfigDict) -> None:
    if settings.max_tokens > about["max_positions"]:
        raise ValueError(
            f"{folder} has {about['max_positions']} positions, fewer than config.text.max_tokens="
            f"{settings.max_tokens}; set --config.text.max_tokens={about['max_positions']}"
        )
    if not settings.tokenizer and not files.has_tokenizer(folder):
        raise ValueError(
            f"{folder} has no tokenizer; set --config.text.tokenizer to the one of this"
            f" {about['family'].upper()}"
        )


def start_from(
    state: TrainState, config: ml_collections.ConfigDict, dataset: Dataset
) -> tuple[TrainState, list[str], list[str]]:
    """A new state with the arrays of the folders that `config.init` names.

    A tagger, or one as audio encoder, starts from the best checkpoint of its own run, trained,
    converted or given away, or of one that hears with it, which must have heard with the same front
    end; the length of its input may be another one.

    Every array of a folder has a place, but the heads of objectives that are not trained here. An
    ALBERT's layer is that of every encoder of the trunk; of a BERT the first layers are taken, and
    of the positions of both the first ones.

    Args:
        state: A new state.
        config: The whole config.
        dataset: Gives the number of positions, and the tokenizer.

    Returns:
        The state, the names of the arrays that were taken, and lines to print that say so.

    Raises:
        ValueError: if a folder does not fit (see `find`), its tokenizer is another one, or an array
            has no place or another shape.
    """
    names, lines = [], []
    found = find(config)
    if config.init.audio and _ears(config) in taggers.NETWORKS:
        state, names, lines = _from_tagger(state, Path(config.init.audio), _place(config))
    for each in found:
        arrays, name_in_file = files.read_arrays(each.folder), str
        layers = each.about.get("layers", config.model.layers)
        if each.family is not resnet_rules:
            _require_tokenizer(each, dataset.tokenizer)
            positions = each.family.POSITIONS
            arrays[positions] = arrays[positions][: dataset.contract.max_tokens]
        if each.family is albert_rules:
            name_in_file = albert_rules.in_file
        if each.family is bert_rules:
            arrays = bert_rules.first_layers(arrays, config.model.layers)
        state, taken, left = _fill(state, arrays, name_in_file, each.folder)
        names += taken
        lines.append(f"from {each.folder}: {len(taken)} arrays taken over")
        if left:
            lines.append(f"  not used here: {', '.join(left)}")
        if each.family is albert_rules and layers != config.model.layers:
            lines.append(f"  its layer is applied {layers} times there, {config.model.layers} here")
        if each.family is bert_rules and layers != config.model.layers:
            lines.append(f"  of its {layers} layers the first {config.model.layers}")
    return state, names, lines


def _fill(
    state: TrainState, arrays: engine.Arrays, name_in_file: Callable[[str], str], folder: Path
) -> tuple[TrainState, list[str], list[str]]:
    """The state with the arrays, the names of those filled, and those without use."""
    ours, filled = engine.flat(state.params, state.statistics), {}
    for name, old in ours.items():
        if (source := name_in_file(name)) in arrays:
            if arrays[source].shape != old.shape:
                raise ValueError(
                    f"{folder}: {source} {arrays[source].shape} does not fit {name} {old.shape}"
                )
            filled[name] = np.asarray(arrays[source], old.dtype)
    left = sorted(arrays.keys() - set(map(name_in_file, filled)))
    homeless = [name for name in left if not name.startswith("objectives/")]
    if homeless:
        raise ValueError(f"{folder}: this model has no {engine.listed(homeless)}")
    return state.filled(filled), list(filled), left


def _require_tokenizer(converted: Converted, tokenizer: Any) -> None:
    """Checks that a token's id means here what it meant there."""
    folder, there = converted.folder, converted.about["vocabulary"]
    if len(tokenizer) != there:
        raise ValueError(
            f"{folder} has a vocabulary of {there}, the tokenizer of this run one of"
            f" {len(tokenizer)}; set --config.text.tokenizer to the one of this"
            f" {converted.about['family'].upper()}"
        )
    theirs = files.read_tokenizer(folder)
    if theirs is not None and theirs.get_vocab() != tokenizer.get_vocab():
        raise ValueError(
            f"{folder} has another tokenizer than this run; leave --config.text.tokenizer empty"
        )
