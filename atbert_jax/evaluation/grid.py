"""The cells of an ablation: which fields differ from a base config, and how that is written."""

import difflib
import functools
import itertools
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from flax import traverse_util
from ml_collections import config_flags

# Values by the dotted names of their fields.
Settings = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]

WEIGHTS = "objectives"
# Where the config of the fine-tuning is within that of the pre-training.
FINETUNE = "finetune"
# Sections in which both stages agree: what is set in one is set in the other.
SHARED = ("seed", "model", "data")
BASE = "base"
LONGEST_NAME = 80


def join(
    config: ml_collections.ConfigDict,
    finetune: ml_collections.ConfigDict,
    overrides: Settings,
    own: Settings,
) -> ml_collections.ConfigDict:
    """Both stages as one config; the second is its section `finetune`.

    Args:
        config: Of the pre-training.
        finetune: Of the fine-tuning.
        overrides: Fields of `config` that the user has set; the shared ones hold for both.
        own: Fields of `finetune` that the user has set; these stay.
    """
    both = config.copy_and_resolve_references()
    with both.unlocked():
        both[FINETUNE] = finetune.copy_and_resolve_references()
    return set_fields(both, {**overrides, **{f"{FINETUNE}.{name}": own[name] for name in own}})


def stages(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """The configs of the runs one after the other: `train`, or `pretrain` and `finetune`."""
    if FINETUNE not in config:
        return {"train": config}
    first = config.copy_and_resolve_references()
    with first.unlocked():
        del first[FINETUNE]
    return {"pretrain": first, FINETUNE: config[FINETUNE]}


def set_fields(config: ml_collections.ConfigDict, settings: Settings) -> ml_collections.ConfigDict:
    """A copy with these values; an objective of weight 0 is off.

    A shared field is set in the fine-tuning too, unless the settings have one of its own for it.
    """
    wanted = dict(settings)
    for field, value in settings.items():
        if FINETUNE in config and field.split(".")[0] in SHARED:
            wanted.setdefault(f"{FINETUNE}.{field}", value)
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        for field, value in wanted.items():
            *path, name = field.split(".")
            section = functools.reduce(lambda node, part: node[part], path, changed)
            section[name] = (value or None) if path[-1:] == [WEIGHTS] else value
    return changed


def parse_axis(config: ml_collections.ConfigDict, text: str) -> tuple[str, tuple[Any, ...]]:
    r"""A field and its values, in the type that the field has, as on the command line.

    Args:
        config: The base.
        text: `field=value,value`; commas within parentheses and `\,` separate nothing.

    Raises:
        ValueError: if there is no such field, or a value is not of its type.
    """
    field, equals, values = text.partition("=")
    known = known_fields(config)
    if not equals:
        raise ValueError(f"{text!r} is not an axis; write field=value,value")
    if field not in known:
        close = difflib.get_close_matches(field, known, n=3, cutoff=0.6)
        inside = [name for name in known if name.startswith(field + ".")]
        hint = ", ".join(inside or close)
        raise ValueError(
            f"{field!r} in {text!r} is no field of the config"
            + (f"; choose from {hint}" if hint else "; see configs/defaults.py")
        )
    parts = re.split(r"(?<!\\),(?![^(]*\))", values)
    found = [_parse(known, field, part.replace("\\,", ",")) for part in parts]
    return field, tuple(dict.fromkeys(found))


def known_fields(config: ml_collections.ConfigDict) -> Settings:
    """Every field that an axis can name, with its value; 0 for objectives that are off."""
    fields = traverse_util.flatten_dict(config.to_dict(), sep=".")
    return {field: 0.0 if value is None else value for field, value in fields.items()}


def _parse(known: Settings, field: str, text: str) -> Any:
    """A value as `--config.field=text` would have it."""
    config = ml_collections.ConfigDict(traverse_util.unflatten_dict(known, sep="."))
    arguments, values = ["", f"--config.{field}={text}"], flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    try:
        values(arguments)
    except (flags.Error, ValueError, TypeError) as error:
        raise ValueError(str(error).replace("flag --config.", "", 1)) from error
    value = values[f"config.{field}"].value
    return tuple(value) if isinstance(value, list) else value


def axes(config: ml_collections.ConfigDict, texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """The axes that `field=value,value` texts describe.

    Raises:
        ValueError: if one of them is no axis of the config, or two have the same field.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        field, values = parse_axis(config, text)
        if field in found:
            raise ValueError(f"the axis {field} is given twice; give all of its values in one")
        found[field] = values
    return found


def plan(
    config: ml_collections.ConfigDict,
    grid: Iterable[str],
    over: Iterable[str],
    *,
    product: bool = False,
) -> tuple[list[Settings], list[Settings]]:
    """What to train.

    Args:
        config: The base.
        grid: Axes that make cells, as `field=value,value`.
        over: Axes that each cell is averaged over, likewise.
        product: Every combination in the grid, not one axis at a time.

    Returns:
        What differs from the base in each cell, the base ({}) first; and the replicates of each.

    Raises:
        ValueError: if one of the axes is none of the config, or two have the same field.
    """
    own, averaged = axes(config, grid), axes(config, over)
    both = sorted(own.keys() & averaged.keys())
    if both:
        raise ValueError(f"{both[0]} cannot make cells and be averaged over; choose one")
    return cells(config, own, product=product), combinations(averaged)


def cells(config: ml_collections.ConfigDict, grid: Axes, *, product: bool) -> list[Settings]:
    """What differs from the base in each cell; the base itself, {}, is always the first.

    Args:
        config: The base.
        grid: The axes.
        product: Every combination; otherwise one axis at a time, the others as in the base.
    """
    base = known_fields(config)
    if product:
        wanted = combinations(grid)
    else:
        wanted = [{field: value} for field, values in grid.items() for value in values]
    found: list[Settings] = [{}]
    for combination in wanted:
        cell = {field: value for field, value in combination.items() if value != base[field]}
        if cell not in found:
            found.append(cell)
    return found


def combinations(several: Axes) -> list[Settings]:
    """Every combination of the values of axes."""
    return [
        dict(zip(several, values, strict=True)) for values in itertools.product(*several.values())
    ]


def ranges(several: Iterable[Settings]) -> str:
    """All values of each field for people: `seed 0, 1, 2`."""
    found: dict[str, list[str]] = {}
    for settings in several:
        for field, value in settings.items():
            values = found.setdefault(field, [])
            if _text(value) not in values:
                values.append(_text(value))
    return " and ".join(f"{field} {', '.join(values)}" for field, values in found.items())


def label(settings: Settings) -> str:
    """Settings for people: `model.layers=1 seed=0`, or `base`."""
    return " ".join(_items(settings)) or BASE


def folder(settings: Settings) -> str:
    """Settings as the name of a folder, another one for other settings."""
    return "+".join(map(_file_name, _items(settings))) or BASE


def _items(settings: Settings) -> list[str]:
    return [f"{field}={_text(settings[field])}" for field in sorted(settings)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return ",".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def _file_name(text: str) -> str:
    name = re.sub(r"[^\w.,=-]+", "-", text)[:LONGEST_NAME]
    # What was lost on the way still tells two settings apart.
    return name if name == text else f"{name}-{zlib.crc32(text.encode()):08x}"
