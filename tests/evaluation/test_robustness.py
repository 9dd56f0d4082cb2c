"""Evaluations of perturbed clips, and of other chunks than those of the training."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.evaluation import evaluate_run, robustness
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio import memory
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.manifest.perturbation import ROBUSTNESS, Perturbation
from atbert_jax.reporting import plots
from atbert_jax.reporting.report import PNG_SIGNATURE
from atbert_jax.training import trained, validation


def evaluate(tone_run, output, **more) -> tuple[dict, str]:
    quiet = Console(file=io.StringIO())
    values = evaluate_run.evaluate(
        tone_run, "test", output, with_baseline=False, console=quiet, **more
    )
    return values, (output / "report.html").read_text(encoding="utf-8")


def test_the_robustness_set_is_measured_and_shown(tone_run, tmp_path):
    values, page = evaluate(tone_run, tmp_path / "report", with_robustness=True)
    found = values["robustness"]
    assert list(found) == ["clean", *map(str, ROBUSTNESS)]
    clean = values["classification"]["audio"]
    assert found["clean"] == {name: clean[name] for name in validation.SHOWN["single_label"]}
    assert page.count("Robustness") == 5  # a table, a picture, its description, and two links
    assert "compress:film_standard" in page
    # Each is what an evaluation of these clips alone says.
    for text in ("noise:0.4", "stretch:1.41421"):
        alone, page = evaluate(tone_run, tmp_path / "alone", perturbation=Perturbation.parse(text))
        assert found[text] == pytest.approx(
            {name: alone["classification"]["audio"][name] for name in found[text]}, abs=1e-6
        )
        assert text in page
        assert alone["evaluated"]["perturbation"] == text
        assert alone["evaluated"]["record_ids"] == values["evaluated"]["record_ids"]
        assert alone["loss"] != pytest.approx(values["loss"], abs=1e-6)


def test_averages_that_are_undefined_are_not_drawn(monkeypatch):
    drawn, undefined = {}, {"roc_auc_macro": None, "pr_auc_macro": None}
    entry = {**dict.fromkeys(validation.SHOWN["multi_label"], 0.5), **undefined}
    answers = ([None], 0)
    monkeypatch.setattr(validation, "ask", lambda *_: answers)
    monkeypatch.setattr(validation, "measure_answers", lambda *_: {"classification": {}})
    monkeypatch.setattr(validation, "views", lambda *_: iter([("audio", entry)]))
    monkeypatch.setattr(plots, "dots", lambda _, panels: drawn.update(panels) or PNG_SIGNATURE)
    model = SimpleNamespace(contract=SimpleNamespace(labels=Labels("multi_label", ("a", "b"))))
    data = SimpleNamespace(perturbed=lambda *_: None)
    found = robustness.measure(model, data, "test", {"classification": {}}, {}, Console(quiet=True))
    assert len(found.figures) == 1
    assert len(drawn) == 2
    assert not drawn.keys() & undefined


def test_only_the_clips_of_the_split_are_perturbed(tone_run, tmp_path):
    model = trained.load(tone_run)
    data = dataset.load(model.config, tmp_path, contract=model.contract, tokenizer=model.tokenizer)
    stretch = Perturbation("stretch", 2.0)
    changed = data.perturbed("test", stretch)
    assert {record.perturbation for record in changed.split("test").records} == {stretch}
    assert changed.split("val") is data.split("val")
    plain, slow = (
        validation.ask([model], each, "test", Console(quiet=True))[0][0][1]["classification"]
        for each in (data, changed)
    )
    # Two chunks of 0.8 s and three of 1.3 s become one and two.
    assert np.bincount(plain["record"]).tolist() == [1, 2, 3, 1, 2, 3]
    assert np.bincount(slow["record"]).tolist() == [1, 1, 2, 1, 1, 2]


def test_clips_are_read_once_and_not_remembered(tone_run, tmp_path, opened, monkeypatch):
    model = trained.load(tone_run)
    data = dataset.load(model.config, tmp_path, contract=model.contract, tokenizer=model.tokenizer)
    kept = []
    monkeypatch.setattr(memory._Shelves, "keep", lambda _, array: kept.append(array) or array)
    validation.ask([model], data, "test", Console(quiet=True))
    assert not kept
    assert sorted(opened) == sorted(record.path.name for record in data.split("test").records)


@pytest.mark.parametrize(
    ("asked", "chunks", "fact"),
    [
        ({"chunks": 4}, [1, 4, 4, 1, 4, 4], "4 of 0.5 s, evenly spaced"),
        ({"hop": 0.1}, [1, 4, 9, 1, 4, 9], "one every 0.1 s"),
        ({"hop": 0.0}, [1, 2, 3, 1, 2, 3], "one every 0.5 s"),
    ],
)
def test_chunks_are_those_that_are_asked_for(tone_run, tmp_path, monkeypatch, asked, chunks, fact):
    records = []
    answers = validation.answers

    def remembering(*arguments):
        found = answers(*arguments)
        records.append(found[0][1]["classification"]["record"])
        return found

    monkeypatch.setattr(validation, "answers", remembering)
    values, page = evaluate(tone_run, tmp_path / "report", **asked)
    assert np.bincount(records[0]).tolist() == chunks
    assert fact in page
    assert fact in values["evaluated"]["chunks"]


def test_a_model_has_one_rule_of_chunks(tone_run):
    model = trained.load(tone_run)
    assert model.chunked() is model
    with pytest.raises(ValueError, match=r"hop=0\.5 and chunks=3 must be 0 or more"):
        model.chunked(hop=0.5, chunks=3)
    assert model.chunked(chunks=3).chunked(hop=0.5).contract.segmenting.hop == 0.5
