"""A model as a folder to give away: its arrays as safetensors, and what predicting needs.

<folder>/weights.safetensors   parameters and running statistics by name
<folder>/config.json           the config, without places on the disk it was trained on
<folder>/contract.json         preprocessing and label names
<folder>/tokenizer/            the tokenizer's files

Strangers may have made such a folder: nothing in it is run, and no array is read before its shape
is known to be the model's.
"""

import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.training import run_folder
from atbert_jax.training.checkpoint import CONFIG, FOLDER, CheckpointError
from atbert_jax.weights import engine
from atbert_jax.weights.files import WEIGHTS

REMEDY = "get the folder again from where it came from"
STEP = "step"
# Fields that name places, with what is there where they are not known.
PLACES = {
    "data.manifest": "",
    "data.root": "",
    "data.allow_outside": False,
    "init.audio": "",
    "init.text": "",
    "init_from": "",
    "text.tokenizer": "",
}


def is_one(folder: Path) -> bool:
    """Whether a folder is a model like this, and not a run, which has numbered checkpoints."""
    is_run = any(each.name.isdigit() for each in (folder / FOLDER).glob("*"))
    return (folder / WEIGHTS).is_file() and not is_run


def write(
    folder: Path,
    config: ml_collections.ConfigDict,
    contract: Contract,
    tokenizer: Any,
    arrays: tuple[dict, dict],
    step: int,
) -> None:
    """Writes a model.

    Args:
        folder: Where to.
        config: Of the run.
        contract: What the model must be fed.
        tokenizer: Of its text.
        arrays: Parameters and statistics, nested dicts.
        step: Of the checkpoint.
    """
    # Not `ascontiguousarray`, which makes a row of a single number.
    flat = {name: np.asarray(x, order="C") for name, x in engine.flat(*arrays).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(flat, folder / WEIGHTS, metadata={STEP: str(step)})
    run_folder.save_run(folder, without_places(config), contract, tokenizer)


def without_places(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy that names no file; of the models within a probe, too."""
    values = json.loads(config.to_json_best_effort())
    inner = values.get("probe", {}).get("ears", {}).values()
    for each in (values, *(ear["config"] for ear in inner)):
        for field, unknown in PLACES.items():
            section, _, key = field.rpartition(".")
            where = each.get(section, {}) if section else each
            if key in where:
                where[key] = unknown
    return ml_collections.ConfigDict(values)


def read(folder: Path, like: tuple[dict, dict]) -> tuple[int, tuple[dict, dict]]:
    """The step and the arrays of a model.

    Args:
        folder: See `is_one`.
        like: Shapes of parameters and statistics with their shardings, nested dicts.

    Raises:
        CheckpointError: if the file is damaged, or its arrays are not those of the model.
    """
    targets = engine.flat(*like)
    with _opened(folder) as file:
        stored = {
            name: f"{tuple(part.get_shape())} {part.get_dtype()}"
            for name in file.keys()  # noqa: SIM118  (it is no dict)
            for part in [file.get_slice(name)]
        }
        wanted = {name: f"{x.shape} {_code(x.dtype)}" for name, x in targets.items()}
        misfits = [
            f"{name}: {stored.get(name, 'missing')} there, {wanted.get(name, 'not wanted')} here"
            for name in sorted(stored.keys() | wanted.keys())
            if stored.get(name) != wanted.get(name)
        ]
        if misfits:
            raise CheckpointError(
                f"{folder / WEIGHTS}: does not fit the model of {folder / CONFIG}"
                f" ({engine.listed(misfits)}); {REMEDY}"
            )

        def fill(path: tuple, x: jax.ShapeDtypeStruct) -> jax.Array:
            return jax.device_put(file.get_tensor(engine.name_of(path)), x.sharding)

        params, statistics = (jax.tree_util.tree_map_with_path(fill, tree) for tree in like)
        return _step(folder, file), (params, statistics)


def read_all(folder: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step, and all arrays by name, whatever these are.

    Raises:
        CheckpointError: if the file is damaged.
    """
    with _opened(folder) as file:
        names = list(file.keys())
        return _step(folder, file), {name: file.get_tensor(name) for name in names}


def _opened(folder: Path) -> safe_open:
    try:
        return safe_open(folder / WEIGHTS, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS}: not a safetensors file ({error}); {REMEDY}"
        ) from error


def _step(folder: Path, file: safe_open) -> int:
    given = (file.metadata() or {}).get(STEP, "0")
    if not given.isascii() or not given.isdigit() or len(given) > 12:
        raise CheckpointError(f"{folder / WEIGHTS}: {given!r:.40} is no step; {REMEDY}")
    return int(given)


def _code(dtype: np.dtype) -> str:
    """A type as safetensors names it, as F32."""
    return f"{dtype.kind.upper()}{8 * dtype.itemsize}"
