"""A classifier is fine-tuned on other labels: the trunk is taken, and its head only if it fits."""

import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.training import loop, run_folder
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from tests import ear, tiny, tones

pytestmark = pytest.mark.slow

RUN = {
    "data.threads": 1,
    "objectives.classification": 1.0,
    "classification.views": ("audio",),
    "train.steps": 1,
    "train.batch_size": 4,
    "train.evaluate_every": 1,
    "evaluation.batch_size": 4,
    "optimizer.learning_rate": 0.0,
    "optimizer.warmup_steps": 0,
    "normalization": "none",
}


@pytest.fixture
def model(monkeypatch) -> dict:
    """The smallest tagger."""
    ear.install(monkeypatch)
    return ear.CONFIG


def arrays(workdir, step: int) -> dict[str, np.ndarray]:
    return tiny.named(Checkpoints(workdir).restore_arrays(step))


def renamed(manifest, **names: str):
    """The same clips with other labels."""
    rows = manifest.read_text().splitlines()
    for old, new in names.items():
        rows = [row.replace(f",{old},", f",{new},") for row in rows]
    path = manifest.with_name("_".join(names.values()).replace("|", "-") + ".csv")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def start(model, tmp_path):
    """A classifier of low and high, and what makes a run that starts from it."""
    manifest = tones.write_manifest(tmp_path)
    tiny.save_run(tmp_path / "first", tones.make_config(manifest, **(model | RUN)))

    def run(manifest=manifest, **changes) -> tuple[Contract, dict, str]:
        config = tones.make_config(manifest, **(model | RUN | changes))
        config.init_from = str(tmp_path / "first")
        console = Console(file=io.StringIO(), width=400)
        loop.train(config, tmp_path / "second", console)
        contract = run_folder.load_run(tmp_path / "second")[1]
        return contract, arrays(tmp_path / "second", 1), console.file.getvalue()

    run.manifest, run.before = manifest, arrays(tmp_path / "first", 0)
    return run


def taken(before: dict, after: dict, part: str) -> list[bool]:
    names = [name for name in before if part in name and before[name].size > 1]
    assert names
    return [
        before[name].shape == after[name].shape and (before[name] == after[name]).all()
        for name in names
        if "kernel" in name
    ]


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        ({"low": "dog", "high": "cat"}, {}, ("cat", "dog")),
        ({}, {"data.labels": ("high", "low", "owl")}, ("high", "low", "owl")),
        ({}, {"data.labels": ("low", "high")}, ("low", "high")),
        ({}, {"data.task": "multi_label"}, ("high", "low")),
    ],
)
def test_a_head_of_other_labels_starts_anew_and_says_so(start, names, changes, expected):
    """Another order, or another kind of answer, is another meaning of the same columns."""
    contract, after, said = start(
        renamed(start.manifest, **names) if names else start.manifest, **changes
    )
    assert contract.labels.names == expected
    assert all(taken(start.before, after, "params/model/"))
    assert not any(taken(start.before, after, "params/objectives/"))
    assert "other labels, so the head starts anew: classification (2 of single_label: high" in said
    assert f"{len(expected)} of {contract.labels.task}: {', '.join(expected)} here" in said


@pytest.mark.parametrize("model", [tiny.MODEL])
def test_a_trunk_of_two_modalities_does_so_too(start):
    contract, after, said = start(renamed(start.manifest, low="dog", high="cat"))
    assert contract.labels.names == ("cat", "dog")
    assert all(taken(start.before, after, "params/model/"))
    assert not any(taken(start.before, after, "params/objectives/"))
    assert "other labels, so the head starts anew" in said


def test_a_head_of_the_same_labels_is_taken(start, caplog):
    contract, after, said = start()
    assert contract.labels.names == ("high", "low")
    assert all(taken(start.before, after, "params/"))
    assert "starts anew" not in said
    assert "labels that are known" not in caplog.text


def test_of_records_with_some_of_the_labels_all_are_kept_and_that_is_said(
    start, model, tmp_path, caplog
):
    three = start.manifest.with_name("three.csv")
    three.write_text(start.manifest.read_text().replace(",low,", ",hum,", 1))
    shutil.rmtree(tmp_path / "first")
    tiny.save_run(tmp_path / "first", tones.make_config(three, **(model | RUN)))
    contract, after, _ = start()
    assert contract.labels.names == ("high", "hum", "low")
    assert all(taken(arrays(tmp_path / "first", 0), after, "params/"))
    assert "the records have 2 of the 3 labels that are known, so those are kept" in caplog.text


def test_a_run_that_goes_on_keeps_its_labels(start, tmp_path):
    start(renamed(start.manifest, low="dog", high="cat"))
    with pytest.raises(CheckpointError, match="holds a run with another config"):
        start()
    config, contract, tokenizer = run_folder.load_run(tmp_path / "second")
    config.data.manifest = str(start.manifest)
    with pytest.raises(ManifestError, match="'low' is none of the 2 known labels"):
        dataset.load(config, tmp_path, contract=contract, tokenizer=tokenizer)
