"""What a run's folder holds beside the arrays; it is complete by itself.

docs/reference/run_folder.md lists everything.

<workdir>/config.json      the resolved config
<workdir>/contract.json    preprocessing and label names
<workdir>/tokenizer/       the tokenizer's files
<workdir>/metrics.jsonl    what was measured on the way
<workdir>/checkpoints/     arrays by step: the latest ones and the best one (see `checkpoint`)
<workdir>/scratch/         of a fine-tuning run: the same network, trained from scratch
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections

from atbert_jax.input_pipeline import contract as contracts
from atbert_jax.input_pipeline.contract import REMEDY, TOKENIZER, Contract, ContractError
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.training import run_config
from atbert_jax.training.checkpoint import CONFIG, COPIED, FOLDER, CheckpointError, Checkpoints

# Where a fine-tuning run keeps its twin that was trained from scratch.
SCRATCH = "scratch"


def save_run(
    workdir: Path, config: ml_collections.ConfigDict, contract: Contract, tokenizer: Any
) -> None:
    """Writes what a checkpoint folder holds beside the arrays, if it is not there already."""
    save_preprocessing(workdir, contract, tokenizer)
    whole_file.write_json(workdir / CONFIG, json.loads(config.to_json_best_effort()))


def save_preprocessing(workdir: Path, contract: Contract, tokenizer: Any) -> None:
    """Writes the contract and the tokenizer's files, likewise."""
    contract.save(workdir)
    tokenization.save_tokenizer(tokenizer, workdir / TOKENIZER)


def load_config(workdir: Path) -> ml_collections.ConfigDict:
    """The resolved config of a run; where it is damaged, the latest checkpoint's copy.

    Raises:
        CheckpointError: if the folder is not that of a run, or the config is damaged and has no
            copy.
    """
    path = workdir / CONFIG
    if not path.exists():
        raise CheckpointError(
            f"{workdir}: no {CONFIG} here, so this is not a checkpoint folder; give the --workdir"
            " of a training run"
        )
    try:
        return run_config.of_json(whole_file.read_json(path, REMEDY), str(path), REMEDY)
    except whole_file.DamagedFileError as error:
        return run_config.of_json(_json_copy(workdir, CONFIG, error), str(path), REMEDY)


def _copies(workdir: Path, names: Sequence[str], error: Exception) -> tuple[int, dict[str, str]]:
    """The latest checkpoint that has kept damaged files, and what it has, by name.

    Raises:
        CheckpointError: if there are no copies; it says what `error` does.
    """
    if (workdir / FOLDER).is_dir():
        with contextlib.closing(Checkpoints(workdir)) as checkpoints:
            for step, files in checkpoints.copies(*names):
                message = "%s; until then the copy of checkpoint %d is used"
                logging.getLogger(__name__).warning(message, error, step)
                return step, files
    raise CheckpointError(str(error)) from error


def _json_copy(workdir: Path, name: str, error: Exception) -> dict[str, Any]:
    step, files = _copies(workdir, [name], error)
    return whole_file.parse_json(files[name], f"{workdir}: checkpoint {step}", REMEDY)


def _load_tokenizer(workdir: Path) -> Any:
    try:
        return tokenization.load_tokenizer(workdir / TOKENIZER)
    except (ValueError, FileNotFoundError) as error:
        names = [name for name in COPIED if name.startswith(TOKENIZER)]
        _, files = _copies(workdir, names, error)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            whole_file.write(Path(folder) / name, text)
        return tokenization.load_tokenizer(Path(folder) / TOKENIZER)


def load_preprocessing(workdir: Path) -> tuple[Contract, Any]:
    """Contract and tokenizer of a run; where one is damaged, the latest checkpoint's copy.

    Raises:
        CheckpointError: if one is damaged and has no copy.
    """
    try:
        contract = Contract.load(workdir)
    except ContractError as error:
        values = _json_copy(workdir, contracts.FILE, error)
        contract = Contract.of_json(values, str(workdir / contracts.FILE))
    tokenizer = _load_tokenizer(workdir)
    if len(tokenizer) != contract.vocabulary:
        raise CheckpointError(
            f"{workdir / TOKENIZER} has {len(tokenizer)} tokens, {workdir / contracts.FILE} says"
            f" {contract.vocabulary}; copy this folder again from where the run came from"
        )
    return contract, tokenizer


def load_run(workdir: Path) -> tuple[ml_collections.ConfigDict, Contract, Any]:
    """Config, contract and tokenizer of a run.

    Raises:
        CheckpointError: if the folder is not that of a run.
    """
    return load_config(workdir), *load_preprocessing(workdir)
