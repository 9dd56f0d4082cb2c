"""Every figure is a PNG that decodes, changes with its data, and warns about no letter."""

import io
import math

import numpy as np
import pytest
from matplotlib import image

from atbert_jax.reporting import canvas, plots

pytestmark = pytest.mark.filterwarnings("error")
NAMES = ["발라드", "blåbärsjazz", "A$AP $x$", "演歌", "<script>", "long " * 20]


def pixels(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    picture = image.imread(io.BytesIO(png), format="png")
    assert picture.std() > 0.01
    return picture


@pytest.mark.parametrize("size", [1, 6, 50, 130])
def test_confusion_matrix_at_any_size(size):
    counts = np.random.default_rng(0).integers(0, 9, (size, size))
    counts[0] = 0
    names = (NAMES + [f"class {i}" for i in range(size)])[:size]
    height, width, _ = pixels(plots.confusion_matrix(counts.tolist(), names)).shape
    assert max(height, width) <= 20 * canvas.DPI


def test_confusion_matrix_shows_the_counts():
    first = plots.confusion_matrix([[3, 1], [0, 2]], ["a", "b"])
    assert first == plots.confusion_matrix([[3, 1], [0, 2]], ["a", "b"])
    assert first != plots.confusion_matrix([[6, 2], [0, 4]], ["a", "b"])


def test_confusion_matrix_refuses_the_wrong_size():
    with pytest.raises(ValueError, match=r"of 3 classes cannot be \(2, 2\)"):
        plots.confusion_matrix([[1, 0], [0, 1]], ["a", "b", "c"])


def test_training_curves_pass_over_what_is_no_number():
    rows = [
        {"step": 10, "train/loss": 2.0, "learning_rate": 1e-3},
        {"step": 20, "train/loss": 1.5, "val/loss": 1.9, "val/per_class": {"a": 1}},
        {"step": 30, "train/loss": math.nan, "val/loss": None},
        {"train/loss": 9.0},
    ]
    clean = [
        {"step": 10, "train/loss": 2.0, "learning_rate": 1e-3},
        {"step": 20, "train/loss": 1.5, "val/loss": 1.9},
    ]
    pixels(plots.training_curves(rows))
    assert plots.training_curves(rows) == plots.training_curves(clean)


def test_training_curves_do_not_depend_on_the_order_of_rows():
    rows = [{"step": s, "train/loss": 1 / (s + 1), "val/x/accuracy": s / 9} for s in range(9)]
    assert plots.training_curves(rows) == plots.training_curves(rows[::-1])


def test_training_curves_leave_out_what_is_always_the_same():
    rows = [{"step": s, "train/loss": 1 / (s + 1), "frozen": 0.5, "val/x": 1} for s in range(3)]
    kept = [{"step": row["step"], "train/loss": row["train/loss"]} for row in rows]
    assert plots.training_curves(rows) == plots.training_curves(kept)
    assert plots.changes(rows)
    assert not plots.changes([{"step": s, "frozen": 0.5} for s in range(3)])
    assert not plots.changes(rows[:1])


def test_training_curves_refuse_an_empty_log():
    with pytest.raises(ValueError, match="no training curve to draw: 1 rows"):
        plots.training_curves([{"step": 3, "note": "none"}])


def test_per_class_bars_show_undefined_and_negative_ones():
    per_class = {
        name: {"r2": value, "support": 3}
        for name, value in zip(NAMES, [0.5, -0.4, None, 1.0, 0.0, 0.2], strict=True)
    }
    pixels(plots.per_class_bars(per_class, metric="r2"))
    pixels(plots.per_class_bars({"only": {"f1": None}}))
    with pytest.raises(ValueError, match="no 'f1' to draw for 발라드"):
        plots.per_class_bars(per_class)
    with pytest.raises(ValueError, match="no 'f1' to draw for any class"):
        plots.per_class_bars({})


@pytest.mark.parametrize("size", [2, 12])
def test_roc_curves_leave_out_classes_without_positives(size):
    rng = np.random.default_rng(0)
    scores, targets = rng.random((80, size)), rng.integers(0, 2, (80, size))
    targets[:, 0] = 0
    names = [f"class {i}" for i in range(size)]
    full = plots.roc_curves(scores, targets, names)
    pixels(full)
    scores[:, 0] = rng.random(80)
    assert plots.roc_curves(scores, targets, names) == full
    with pytest.raises(ValueError, match="no ROC curve to draw"):
        plots.roc_curves(scores, np.zeros_like(targets), names)


def test_pair_histogram_leaves_out_weight_zero():
    rng = np.random.default_rng(0)
    scores, is_match, weight = rng.normal(size=60), rng.integers(0, 2, 60), np.ones(60)
    weight[:20] = 0
    full = plots.pair_histogram(scores, is_match, weight)
    pixels(full)
    assert full == plots.pair_histogram(scores[20:], is_match[20:], np.ones(40))
    with pytest.raises(ValueError, match="every weight is 0"):
        plots.pair_histogram(scores, is_match, np.zeros(60))


def test_spectrogram():
    pixels(plots.spectrogram(np.random.default_rng(0).normal(size=(40, 100)), 0.01))
    with pytest.raises(ValueError, match=r"\(bands, frames\), not \(40, 0\)"):
        plots.spectrogram(np.zeros((40, 0)), 0.01)


def test_dots_show_means_runs_and_the_base():
    runs = [[0.5, 0.7], [], [0.9]]
    first = plots.dots(NAMES[:3], {"auc": runs, "accuracy": [[], [0.5], []]})
    pixels(first)
    assert first == plots.dots(NAMES[:3], {"auc": runs, "accuracy": [[], [0.5], []]})
    assert first != plots.dots(NAMES[:3], {"auc": runs, "accuracy": [[], [0.5, 0.6], []]})
    tall = pixels(plots.dots([f"cell {i}" for i in range(40)], {"auc": [[0.1]] * 40}))
    assert tall.shape[0] > tall.shape[1]


def test_dots_refuse_what_is_not_one_entry_for_each_cell():
    with pytest.raises(ValueError, match="'auc' has 1 rows of values for 2 cells"):
        plots.dots(["a", "b"], {"auc": [[0.5]]})
    with pytest.raises(ValueError, match="'auc'"):
        plots.dots(["a"], {"auc": [[]]})
