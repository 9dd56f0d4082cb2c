"""Every number of the metrics against scikit-learn, and what happens where none is defined."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from atbert_jax.metrics import scores as metrics

NAMES = ["rock", "jazz", "folk", "스카", "blå", "soul", "punk"]


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def classified(classes, count=7, seed=0):
    scores = softmax(np.random.default_rng(seed).normal(size=(len(classes), count)))
    return scores, np.eye(count)[classes]


def close(value):
    return pytest.approx(value, abs=1e-12, rel=0)


def test_single_label_is_scikit_learn():
    truth = np.random.default_rng(1).integers(0, 7, 200)
    scores, targets = classified(truth)
    result = metrics.single_label(scores, targets, NAMES)
    guess = scores.argmax(axis=1)
    assert result["accuracy"] == close(sk.accuracy_score(truth, guess))
    assert result["top5_accuracy"] == close(sk.top_k_accuracy_score(truth, scores, k=5))
    assert result["macro_f1"] == close(sk.f1_score(truth, guess, average="macro"))
    for average in ("macro", "micro"):
        roc = sk.roc_auc_score(targets, scores, average=average)
        pr = sk.average_precision_score(targets, scores, average=average)
        assert result[f"roc_auc_{average}"] == close(roc)
        assert result[f"pr_auc_{average}"] == close(pr)
    assert result["confusion_matrix"] == sk.confusion_matrix(truth, guess).tolist()
    expected = sk.classification_report(truth, guess, target_names=NAMES, output_dict=True)
    for name in NAMES:
        row = result["per_class"][name]
        assert row["precision"] == close(expected[name]["precision"])
        assert row["recall"] == close(expected[name]["recall"])
        assert row["f1"] == close(expected[name]["f1-score"])
        assert row["support"] == expected[name]["support"]
    assert result["undefined_classes"] == {}


def test_single_label_takes_the_largest_of_soft_targets():
    scores, targets = classified([0, 1, 2, 1, 0, 2])
    soft = 0.7 * targets + 0.3 / len(NAMES)
    assert metrics.single_label(scores, soft, NAMES) == metrics.single_label(scores, targets, NAMES)


def test_single_label_leaves_a_missing_class_out_of_the_averages():
    truth = np.random.default_rng(2).integers(0, 6, 90)
    scores, targets = classified(truth)
    result = metrics.single_label(scores, targets, NAMES)
    roc = sk.roc_auc_score(targets[:, :6], scores[:, :6], average="macro")
    pr = sk.average_precision_score(targets[:, :6], scores[:, :6], average="macro")
    f1 = sk.f1_score(truth, scores.argmax(axis=1), labels=range(6), average="macro")
    assert result["roc_auc_macro"] == close(roc)
    assert result["pr_auc_macro"] == close(pr)
    assert result["macro_f1"] == close(f1)
    assert result["undefined_classes"] == {"punk": "no positive example"}
    missing = {"precision": None, "recall": None, "f1": None, "support": 0}
    assert result["per_class"]["punk"] == missing


def test_single_label_with_one_class_only_has_no_macro_area():
    scores, targets = classified([3] * 12)
    result = metrics.single_label(scores, targets, NAMES)
    assert result["roc_auc_macro"] is None
    assert result["pr_auc_macro"] is None
    assert result["roc_auc_micro"] == close(sk.roc_auc_score(targets.ravel(), scores.ravel()))
    assert result["undefined_classes"]["스카"] == "no negative example"
    assert len(result["undefined_classes"]) == 7


def test_single_label_of_few_classes_has_no_top5():
    scores, targets = classified([0, 1, 1], count=2)
    assert "top5_accuracy" not in metrics.single_label(scores, targets, ["yes", "no"])


def test_multi_label_is_scikit_learn():
    rng = np.random.default_rng(3)
    scores, targets = rng.random((120, 7)), rng.integers(0, 2, (120, 7))
    limits = {name: 0.2 + 0.1 * number for number, name in enumerate(NAMES[:5])}
    result = metrics.multi_label(scores, targets, NAMES, limits)
    guess, tuned = scores >= 0.5, scores >= [*limits.values(), 0.5, 0.5]
    for average in ("macro", "micro"):
        roc = sk.roc_auc_score(targets, scores, average=average)
        pr = sk.average_precision_score(targets, scores, average=average)
        assert result[f"roc_auc_{average}"] == close(roc)
        assert result[f"pr_auc_{average}"] == close(pr)
        assert result[f"f1_{average}"] == close(sk.f1_score(targets, guess, average=average))
        expected = sk.f1_score(targets, tuned, average=average)
        assert result[f"f1_{average}_tuned"] == close(expected)
    for c, name in enumerate(NAMES):
        row = result["per_class"][name]
        assert row["roc_auc"] == close(sk.roc_auc_score(targets[:, c], scores[:, c]))
        assert row["pr_auc"] == close(sk.average_precision_score(targets[:, c], scores[:, c]))
        assert row["f1"] == close(sk.f1_score(targets[:, c], guess[:, c]))
        assert row["f1_tuned"] == close(sk.f1_score(targets[:, c], tuned[:, c]))
        assert row["threshold"] == limits.get(name, 0.5)
        assert row["support"] == targets[:, c].sum()


def test_thresholds_in_closed_form():
    scores = np.array([[0.9, 0.2, 0.6, 0.3], [0.8, 0.7, 0.1, 0.3], [0.3, 0.4, 0.4, 0.3]])
    targets = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0]])
    # Split in full; split in full below one half; nothing to find; all alike, F1 = 1 / 2.
    found = metrics.best_thresholds(scores, targets, ["a", "b", "c", "d"])
    assert found == {"a": close(0.55), "b": close(0.3), "d": close(0.3)}
    # From 0.6 on 2 of 3 are right and all are found: 0.8; from 0.9 on F1 is 2 / 3.
    one = metrics.best_thresholds(
        np.array([[0.9], [0.7], [0.6], [0.5]]), np.array([[1], [0], [1], [0]]), ["a"]
    )
    assert one == {"a": close(0.55)}


def test_thresholds_are_the_best_of_all():
    rng = np.random.default_rng(8)
    scores, targets = rng.random((60, 7)).round(2), rng.integers(0, 2, (60, 7))
    found = metrics.best_thresholds(scores, targets, NAMES)
    for c, name in enumerate(NAMES):
        tried = [sk.f1_score(targets[:, c], scores[:, c] >= t) for t in np.linspace(0, 1, 101)]
        assert sk.f1_score(targets[:, c], scores[:, c] >= found[name]) == close(max(tried))


def test_multi_label_leaves_constant_tags_out_of_the_averages():
    rng = np.random.default_rng(4)
    scores, targets = rng.random((60, 7)), rng.integers(0, 2, (60, 7))
    targets[:, 0], targets[:, 1] = 0, 1
    result = metrics.multi_label(scores, targets, NAMES)
    roc = sk.roc_auc_score(targets[:, 2:], scores[:, 2:], average="macro")
    assert result["roc_auc_macro"] == close(roc)
    reasons = {"rock": "no positive example", "jazz": "no negative example"}
    assert result["undefined_classes"] == reasons
    f1 = sk.f1_score(targets[:, 1:], scores[:, 1:] >= 0.5, average="macro")
    assert result["f1_macro"] == close(f1)
    undefined = {"roc_auc": None, "pr_auc": None, "f1": None, "support": 0}
    assert result["per_class"]["rock"] == undefined


def test_multi_label_without_any_positive_is_undefined():
    scores = np.random.default_rng(5).random((9, 2))
    result = metrics.multi_label(scores, np.zeros((9, 2)), ["a", "b"])
    for key in ("roc_auc_macro", "roc_auc_micro", "pr_auc_macro", "pr_auc_micro", "f1_macro"):
        assert result[key] is None


def test_multi_label_refuses_soft_targets():
    with pytest.raises(ValueError, match=r"row 1, tag 'b': 0\.5 is neither 0 nor 1"):
        metrics.multi_label(np.zeros((2, 2)), np.array([[0, 1], [1, 0.5]]), ["a", "b"])


def test_regression_is_scikit_learn():
    rng = np.random.default_rng(6)
    scores, targets = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    result = metrics.regression(scores, targets, ["valence", "arousal"])
    assert result["r2"] == close(sk.r2_score(targets, scores, multioutput="uniform_average"))
    assert result["rmse"] == close(sk.root_mean_squared_error(targets, scores))
    assert result["mae"] == close(sk.mean_absolute_error(targets, scores))
    each = sk.r2_score(targets, scores, multioutput="raw_values")
    assert result["per_target"]["arousal"]["r2"] == close(each[1])


def test_regression_of_a_target_that_does_not_vary():
    targets = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    result = metrics.regression(targets + 0.1, targets, ["valence", "tempo"])
    assert result["per_target"]["tempo"]["r2"] is None
    assert result["r2"] == close(sk.r2_score(targets[:, 0], targets[:, 0] + 0.1))
    assert list(result["undefined_classes"]) == ["tempo"]
    assert result["mae"] == close(0.1)


def test_pairs_are_scikit_learn_over_the_weighted_rows():
    rng = np.random.default_rng(7)
    scores, is_match = rng.normal(size=80), rng.integers(0, 2, 80)
    weight = rng.integers(0, 2, 80)
    scores[np.flatnonzero(weight == 0)[0]] = np.nan
    result = metrics.pairs(scores, is_match, weight)
    scores, truth = scores[weight == 1], is_match[weight == 1]
    assert result["accuracy"] == close(sk.accuracy_score(truth, scores > 0))
    assert result["roc_auc"] == close(sk.roc_auc_score(truth, scores))
    assert result["pr_auc"] == close(sk.average_precision_score(truth, scores))
    assert result["pairs"] == weight.sum()


def test_pairs_of_one_kind_have_an_accuracy_only():
    result = metrics.pairs(np.array([1.0, -1.0]), np.ones(2), np.ones(2))
    assert (result["accuracy"], result["roc_auc"], result["pr_auc"]) == (0.5, None, None)
    assert result["undefined_classes"] == {"match": "no negative example"}


@pytest.mark.parametrize("count", [0, 3])
def test_pairs_refuse_when_no_weight_is_left(count):
    with pytest.raises(ValueError, match=f"no pair to evaluate: {count} pairs"):
        metrics.pairs(np.ones(count), np.ones(count), np.zeros(count))


@pytest.mark.parametrize("task", sorted(metrics.TASK_METRICS))
def test_bad_input_is_one_clear_line(task):
    measure = metrics.TASK_METRICS[task]
    with pytest.raises(ValueError, match="nothing to evaluate: 0 rows"):
        measure(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="must both be"):
        measure(np.zeros((3, 2)), np.zeros((4, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="as many different names"):
        measure(np.zeros((3, 2)), np.zeros((3, 2)), ["a", "a"])
    with pytest.raises(ValueError, match="scores row 1: not finite"):
        measure(np.array([[0.0, 1.0], [np.nan, 1.0]]), np.zeros((2, 2)), ["a", "b"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("task", sorted(metrics.TASK_METRICS))
@pytest.mark.parametrize("rows", [1, 8])
def test_results_are_strict_json_and_silent(task, rows):
    scores, targets = classified([2] * rows)
    scores, targets = scores.astype(np.float32), targets.astype(np.int32)
    json.dumps(metrics.TASK_METRICS[task](scores, targets, NAMES), allow_nan=False)
