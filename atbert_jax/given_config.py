"""Configs that are given in Python, and training by them: `atbert_jax.train(config, workdir)`."""

from __future__ import annotations

import functools
import importlib.util
import operator
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ml_collections


def train(
    config: str | Path | ml_collections.ConfigDict,
    workdir: str | Path,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, float | None]:
    """Trains in this process what a config describes, as `atbert train` does.

    Called again with the same arguments, it goes on where it was stopped.

    Args:
        config: The name of one of the package's, as `atbert_finetune:small`, the path of a file
            with `get_config()`, or a config. A config is not changed.
        workdir: Folder of the run.
        overrides: Fields that are set in it, by their dotted names (`{"train.steps": 100}`) or as
            nested mappings.

    Returns:
        The best validation metrics, by name. `atbert_jax.load(workdir)` is the model.

    Raises:
        ValueError: if the config, the manifest or the folder is not as it should be.
        ModuleNotFoundError: if the extra `[train]` is not installed.
        SystemExit: with code 75 after Ctrl-C or SIGTERM, when the state is saved.
    """
    from atbert_jax import command, extras

    command.set_environment()  # before TensorFlow is imported, or audio is not the same to a bit
    with extras.named():
        from atbert_jax.input_pipeline.progress import Terminal
        from atbert_jax.training.twin import train_with_twin

        whole = read_config(config, overrides)
        return train_with_twin(whole, Path(workdir).expanduser(), Terminal())


def read_config(
    config: str | Path | ml_collections.ConfigDict,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> ml_collections.ConfigDict:
    """A config by its name, its path or itself, with fields set in a copy of it.

    The arguments are those of `train`.

    Raises:
        ValueError: if there is no such config or field, or a value is of another type.
    """
    if isinstance(config, str | Path):
        config = _of_file(str(config))
    config = config.copy_and_resolve_references().lock()  # which refuses fields there are not
    for name, value in _flat(overrides):
        try:
            section, _, field = name.rpartition(".")
            inner = functools.reduce(operator.getitem, filter(None, section.split(".")), config)
            inner[field] = value
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = str(error.args[0] if error.args else error).strip("'\" ")
            raise ValueError(f"config.{name}={value!r:.60} cannot be set: {said}") from error
    return config


def _of_file(given: str) -> ml_collections.ConfigDict:
    """The config of a file or a name, with the words behind its colon."""
    from atbert_jax import command

    stem, colon, words = command.config_file(given).partition(".py:")
    path = Path(f"{stem}.py" if colon else stem).expanduser()
    if not path.is_file():
        raise ValueError(
            f"{path}: no such config file; known are {', '.join(command.config_names())}"
        )
    spec = importlib.util.spec_from_file_location("given_config_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(words) if colon else module.get_config()


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The fields of nested mappings by their dotted names."""
    found = []
    for name, value in values.items():
        inner = _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else []
        found += inner or [(f"{before}{name}", value)]
    return found
