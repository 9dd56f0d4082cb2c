"""An evaluation of tags: thresholds are those of validation data, and each split is read once."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

from atbert_jax.evaluation import compared_systems, evaluate_run
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching import batches
from atbert_jax.training import run_folder, trained, validation
from tests import tiny

NAMES = ("high", "late", "low")


@pytest.fixture
def tagger(tone_manifest, tone_config, tmp_path) -> Path:
    """Tags 'low' and 'high', and 'late' of which validation has none; with a twin."""
    manifest = tone_manifest(8, 6, 7)
    text = manifest.read_text(encoding="utf-8").replace(",label,", ",labels,")
    for name in ("train1", "test0", "test3"):
        row = next(line for line in text.splitlines() if line.startswith(f"{name},"))
        text = text.replace(
            row, row.replace("low,t", "low|late,t").replace("high,t", "high|late,t")
        )
    manifest.write_text(text, encoding="utf-8")
    changes = {
        **tiny.MODEL,
        "objectives.classification": 1.0,
        "classification.views": ("audio", "text"),
        "data.task": "multi_label",
        "normalization": "none",
        "evaluation.batch_size": 4,
    }
    config = tone_config(manifest, **changes)
    config.init_from = "elsewhere"
    for number, folder in enumerate((tmp_path / "run", tmp_path / "run" / run_folder.SCRATCH)):
        tiny.save_run(folder, config, number)
    return tmp_path / "run"


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """Counts how often each split is read for models."""
    counts: Counter[str] = Counter()
    evaluation = batches.Batches.evaluation

    def counting(self, split, *rest):
        counts[split] += 1
        return evaluation(self, split, *rest)

    monkeypatch.setattr(batches.Batches, "evaluation", counting)
    return counts


@pytest.fixture
def asked(monkeypatch) -> dict[str, list]:
    """What the models answered on each split."""
    answers = {}
    ask = validation.ask

    def remembering(models, data, split, console):
        answers[split], unreadable = ask(models, data, split, console)
        return answers[split], unreadable

    monkeypatch.setattr(validation, "ask", remembering)
    return answers


def evaluate(workdir: Path, split: str, output: Path, **more) -> tuple[dict, str]:
    """The metrics and the report's page."""
    console = Console(file=io.StringIO(), width=200)
    values = evaluate_run.evaluate(workdir, split, output, console=console, **more)
    return values, (output / "report.html").read_text(encoding="utf-8")


def best(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold by trying every score, halfway to the next lower one."""
    tried = np.sort(scores).astype(np.float64)
    place = int(np.argmax([f1_score(truth, scores >= t) for t in tried]))
    return (tried[place] + tried[max(place - 1, 0)]) / 2


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_thresholds_of_val_decide_on_test(tagger, tmp_path, reads, asked):
    before = files(tagger)
    values, page = evaluate(tagger, "test", tmp_path / "report")
    assert reads == {"test": 1, "val": 1}
    assert files(tagger) == before
    model, baseline = [], values["systems"][compared_systems.BASELINE]
    for number, origin in enumerate(("from elsewhere", "from scratch")):
        for view in ("audio", "text"):
            entry = values["systems"][f"atbert {origin}: {view}"]
            on_val, on_test = (asked[name][number][1]["classification"] for name in ("val", "test"))
            limits = np.array(
                [
                    best(on_val[view][:, c], on_val["labels"][:, c]) if name != "late" else 0.5
                    for c, name in enumerate(NAMES)
                ]
            )
            assert [entry["per_class"][name]["threshold"] for name in NAMES] == list(limits)
            truth = on_test["labels"]
            for suffix, predicted in (
                ("", on_test[view] >= 0.5),
                ("_tuned", on_test[view] >= limits),
            ):
                for average in ("macro", "micro"):
                    expected = f1_score(truth, predicted, average=average, zero_division=0)
                    assert entry[f"f1_{average}{suffix}"] == pytest.approx(expected, abs=1e-12)
            model.append(entry)
    assert values["classification"]["audio"] == model[0]
    thresholds = values["chosen"]["classification"]["thresholds"]
    assert thresholds["audio"] == {
        name: model[0]["per_class"][name]["threshold"] for name in ("high", "low")
    }
    assert thresholds["audio"] != thresholds["text"]
    assert "No record of val has these tags, so their thresholds stay 0.5: late." in page
    # Tones of two pitches are easy for the baseline, at thresholds of its own.
    assert baseline["f1_micro_tuned"] > 0.7


def test_val_itself_is_read_once_and_said_to_flatter(tagger, tmp_path, reads):
    values, page = evaluate(tagger, "val", tmp_path / "report", with_baseline=False)
    assert reads == {"val": 1}
    assert "Thresholds were chosen on this very split" in page
    entry = values["classification"]["audio"]
    assert entry["f1_macro_tuned"] >= entry["f1_macro"]
    about = values["evaluated"]
    ids = json.dumps(sorted(f"val{number}" for number in range(6))).encode()
    assert about["record_ids"] == hashlib.blake2b(ids, digest_size=4).hexdigest()
    assert (about["records"], about["perturbation"], about["text_column"]) == (6, "none", "text")


def test_without_labels_on_val_tags_are_decided_at_one_half(tagger, tmp_path, reads):
    manifest = next(tmp_path.rglob("tracks.csv"))
    rows = manifest.read_text(encoding="utf-8").splitlines()
    for number, row in enumerate(rows):
        if row.endswith(",val"):
            rows[number] = ",".join([*row.split(",")[:3], "", "val"])
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    values, page = evaluate(tagger, "test", tmp_path / "report", with_baseline=False)
    assert reads == {"test": 1}
    assert "The val split has no labelled records, so tags are decided at 0.5 alone." in page
    assert "chosen" not in values
    assert "f1_macro" in values["classification"]["audio"]
    assert "f1_macro_tuned" not in values["classification"]["audio"]


def test_a_prediction_takes_the_thresholds_of_an_evaluation(tagger):
    model = trained.load(tagger)
    records = dataset.read_splits(model.config.data)[0]["test"][0][:3]
    plain = list(Predictor(model).predict(records))
    probabilities = [answer.fields["probabilities"] for answer in plain]
    # Both modalities are there but not trained together, so the first view answers.
    limits = {name: probabilities[0][name] for name in ("high", "low")}
    chosen = {"classification": {"thresholds": {"audio": limits, "text": {}}}}
    for answer, scores in zip(
        Predictor(model, chosen=chosen).predict(records), probabilities, strict=True
    ):
        assert answer.fields["probabilities"] == scores
        expected = [name for name in NAMES if scores[name] >= limits.get(name, 0.5)]
        assert answer.fields["prediction"] == expected
    assert {"high", "low"} <= set(
        next(Predictor(model, chosen=chosen).predict(records)).fields["prediction"]
    )
