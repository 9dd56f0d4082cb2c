"""The label curve: what is drawn, what is measured, what is said, and what is refused."""

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.evaluation import label_curve
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.training import trained
from tests import listener, tiny


@pytest.fixture
def run(tone_manifest, tone_config, tmp_path):
    """A pre-trained run without labels of its own, whose manifest has some: 5 low, 4 high."""
    manifest = tone_manifest(9, 2, 6, seconds=(0.5, 0.8))
    changes = {**tiny.MODEL, "objectives.alignment": 1.0, "data.task": "", "normalization": "none"}
    config = tone_config(manifest, **changes)
    tiny.save_run(tmp_path / "run", config)
    return tmp_path / "run"


def curve(run, output, **changes):
    console = Console(file=io.StringIO(), width=200)
    options = {"with_baseline": False, "label_draws": 2, "cache": output.parent / "cache"}
    metrics = evaluate(run, "test", output, console=console, **options | changes)
    return metrics, (output / "report.html").read_text(), console.file.getvalue()


def test_tones_are_told_from_few_labels(run, tmp_path):
    metrics, page, said = curve(run, tmp_path / "report")
    values = metrics["label_curve"]
    assert "verdict" not in metrics  # it has learned no labels
    frozen, untrained, mfcc = values["systems"].values()
    assert [point["labels_per_class"] for point in mfcc] == [1, 2, "all"]
    assert [point["clips"] for point in frozen] == [2, 4, 9]
    assert mfcc[-1]["accuracy"] == mfcc[-1]["macro_f1"] == 1
    assert mfcc[-1]["interval"][1] == 1
    assert mfcc[0]["ahead"] is None
    for points in (frozen, untrained):
        for point, other in zip(points, mfcc, strict=True):
            by = point["accuracy"] - other["accuracy"]
            assert point["ahead"]["by"] == pytest.approx(by)
            assert point["ahead"]["interval"][0] <= by <= point["ahead"]["interval"][1]
    assert "mean of 2 draws, measured on all 6 clips of test" in page
    assert "its curve flatters" not in page
    assert "label curve: 63/63 clips fitted" in said  # 3 systems, 2 draws of 2 and 4, and 9
    stored = json.loads((tmp_path / "report" / "metrics.json").read_text())["label_curve"]
    assert stored["systems"].keys() == values["systems"].keys()
    # Kept features give the same again.
    again, _, _ = curve(run, tmp_path / "again")
    assert again["label_curve"] == values


def test_a_trunk_that_knew_the_labels_is_said_to_flatter(tone_run, tmp_path):
    metrics, page, _ = curve(tone_run, tmp_path / "report", label_draws=1, with_baseline=True)
    assert "its curve flatters" in page
    names = list(metrics["systems"])
    assert names[0] == "atbert from scratch: audio"
    assert names[1:] == [
        "MFCC statistics + linear model",
        "atbert, frozen + linear model",
        "atbert with random weights + linear model",
    ]
    verdict = metrics["verdict"]
    assert verdict["baseline"] in (names[1], names[3])
    accuracies = [entry["accuracy"] for entry in metrics["systems"].values()]
    assert verdict["by"] == pytest.approx(accuracies[0] - max(accuracies[1], accuracies[3]))
    assert verdict["records"] == 6
    assert verdict["sentence"].partition(";")[0] in page
    low, high = metrics["systems"][names[1]]["accuracy_interval"]
    assert low <= accuracies[1] <= high
    assert f"{low:.3f} to {high:.3f}" in page
    assert "unreadable" not in page


def test_draws_are_stratified_and_grow():
    by_class = [np.arange(0, 30), np.arange(30, 33)]
    few, more = (label_curve._draw(by_class, count, 3, seed=1) for count in (2, 5))
    for two, five in zip(few, more, strict=True):
        assert set(two) <= set(five)
        assert [(five < 30).sum(), (five >= 30).sum()] == [5, 3]
    assert len({tuple(draw) for draw in few}) == 3
    again = label_curve._draw(by_class, 2, 3, seed=1)
    np.testing.assert_array_equal(few, again)


def test_random_weights_are_those_of_the_seed(run):
    model = trained.load(run)
    one, again = (tiny.named(label_curve.untrained(model).params) for _ in range(2))
    known = tiny.named(model.params)
    assert one.keys() == known.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, again[name])
    kernels = [name for name in one if name.endswith("kernel")]
    assert not any(np.array_equal(one[name], known[name]) for name in kernels)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": Labels("multi_label", tiny.LABELS)}, "config.data.task is 'multi_label'"),
        ({"labels": Labels("regression", ("energy",))}, "config.data.task is 'regression'"),
        ({"tasks": (Labels("single_label", tiny.LABELS, name="pitch"),)}, "has several: pitch"),
        ({"features": MusicFeatures()}, "hears frames of musical features"),
    ],
)
def test_what_has_no_curve_is_refused_by_name(changes, said):
    contract = tiny.make_contract(**changes)
    model = dataclasses.replace(listener.make(), contract=contract)
    with pytest.raises(ValueError, match=said):
        label_curve.require(model, Dataset({}, contract, None), "test")


def test_what_is_learned_from_is_not_measured_on():
    with pytest.raises(ValueError, match="--split=val or test"):
        label_curve.require(listener.make(), Dataset({}, tiny.make_contract(), None), "train")


@pytest.mark.parametrize("name", ["probe", "caption_probe"])
def test_a_probe_is_a_linear_model_itself(name):
    model = listener.make(**{"model.name": name})
    with pytest.raises(ValueError, match="give the run or the converted model"):
        label_curve.require(model, Dataset({}, tiny.make_contract(), None), "test")
