"""The config of a run from its JSON: checked, and with the fields that earlier versions lack."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from atbert_jax.configs import defaults
from atbert_jax.input_pipeline.text.whole_file import DamagedFileError
from atbert_jax.training import sameness

# Without these no run can be used.
SECTIONS = ("data", "evaluation", "model", "objectives", "optimizer", "sharding", "train")


def of_json(values: Mapping[str, Any], name: str, remedy: str) -> ml_collections.ConfigDict:
    """The config that a JSON file called `name` holds.

    Raises:
        DamagedFileError: if a section is missing, or a field is of another type than its default.
    """
    if lacking := [each for each in SECTIONS if not isinstance(values.get(each), Mapping)]:
        raise DamagedFileError(f"{name}: has no section {' and no '.join(lacking)}; {remedy}")
    wrong = _wrong(values, defaults.get_config().to_dict())
    wrong += [
        f"objectives.{key} is {value!r:.40}, no weight"
        for key, value in values["objectives"].items()
        if not _is(value, 1.0)
    ]
    if wrong:
        raise DamagedFileError(f"{name}: {wrong[0]}; {remedy}")
    config = ml_collections.ConfigDict(values)
    for field, value in sameness.EARLIER.items():
        section, _, key = field.rpartition(".")
        if section in config and key not in config[section]:
            config[section][key] = value
    return config


def _wrong(values: Mapping[str, Any], known: Mapping[str, Any], where: str = "") -> list[str]:
    """The fields that are of another type than the known ones, each as a text."""
    found = []
    for key, like in known.items():
        value = values.get(key, like)
        if isinstance(like, Mapping) and isinstance(value, Mapping):
            found += _wrong(value, like, f"{where}{key}.")
        elif not _is(value, like):
            found.append(f"{where}{key} is {value!r:.40}, of another type than {like!r:.40}")
    return found


def _is(value: Any, like: Any) -> bool:
    """Whether a value from JSON is of the type of another one; whole numbers are floats too."""
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(like, bool)
    kinds = {float: (int, float), tuple: (list, tuple)}
    return isinstance(value, kinds.get(type(like), type(like)))
