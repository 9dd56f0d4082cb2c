"""Scores and targets in, a dictionary that JSON can hold out; every number is scikit-learn's.

A number that the data leave undefined is `None`, never NaN, and `undefined_classes` says of which
class it is missing and why. Area under the precision-recall curve is average precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from atbert_jax.metrics.calibration import calibration

# From this score on a tag is predicted, where no other threshold was chosen for it.
THRESHOLD = 0.5
NO_POSITIVES = "no positive example"
NO_NEGATIVES = "no negative example"
CONSTANT = "fewer than two different values"


def single_label(scores: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Measures a classifier that gives each row one of C classes.

    Macro averages run over the classes that have positives (F1), or positives and negatives
    (ROC and PR), since no prediction could change the others.

    Args:
        scores: (N, C) class probabilities.
        targets: (N, C) one-hot or soft targets; the largest entry of a row is its class.
        names: the C class names.

    Returns:
        accuracy, top5_accuracy (when C > 5), macro_f1, roc_auc_macro, roc_auc_micro, pr_auc_macro,
        pr_auc_micro, per_class {name: {precision, recall, f1, support}}, undefined_classes
        {name: reason}, calibration (of the largest score of each row, see `calibration`) and
        confusion_matrix (C lists of C counts, rows are the truth).

    Raises:
        ValueError: on no rows, shapes or names that disagree, or scores that are not finite.
    """
    scores, targets = _checked(scores, targets, names)
    classes = np.arange(len(names))
    truth, predicted = targets.argmax(axis=1), scores.argmax(axis=1)
    one_hot = truth[:, None] == classes
    present = classes[one_hot.any(axis=0)]
    result: dict[str, Any] = {"accuracy": float(sk.accuracy_score(truth, predicted))}
    if len(names) > 5:
        top5 = sk.top_k_accuracy_score(truth, scores, k=5, labels=classes)
        result["top5_accuracy"] = float(top5)
    result["macro_f1"] = float(
        sk.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    )
    averages, _, undefined = _one_vs_rest(scores, one_hot, names)
    columns = sk.precision_recall_fscore_support(
        truth, predicted, labels=classes, average=None, zero_division=0
    )
    per_class = {}
    for name, precision, recall, f1, support in zip(names, *columns, strict=True):
        known = support > 0
        per_class[name] = {
            "precision": float(precision) if known else None,
            "recall": float(recall) if known else None,
            "f1": float(f1) if known else None,
            "support": int(support),
        }
    return result | {
        **averages,
        "per_class": per_class,
        "undefined_classes": undefined,
        "calibration": calibration(scores.max(axis=1), truth == predicted),
        "confusion_matrix": sk.confusion_matrix(truth, predicted, labels=classes).tolist(),
    }


def best_thresholds(
    scores: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """The threshold of each tag with the highest F1, the lowest of equals.

    It is halfway between the score that F1 is highest from and the next lower one: on these data
    that changes nothing, and others, which thresholds are meant for, it leaves room on both sides.

    Args:
        scores: (N, C) tag probabilities.
        targets: (N, C) of 0 and 1.
        names: the C tag names.

    Returns:
        Thresholds by tag; tags without a positive example have none.

    Raises:
        ValueError: as `multi_label`.
    """
    scores, truth = _checked_tags(scores, targets, names)
    chosen = {}
    for c, name in enumerate(names):
        if truth[:, c].any():
            precision, recall, thresholds = sk.precision_recall_curve(truth[:, c], scores[:, c])
            # The lowest threshold finds something, so the best F1 is above 0.
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            best = int(f1[:-1].argmax())
            chosen[name] = float(thresholds[max(best - 1, 0) : best + 1].mean())
    return chosen


def multi_label(
    scores: np.ndarray,
    targets: np.ndarray,
    names: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Measures a tagger that gives each row any number of C tags.

    Args:
        scores: (N, C) tag probabilities.
        targets: (N, C) of 0 and 1.
        names: the C tag names.
        thresholds: of `best_thresholds` on other data; tags that it leaves out keep 0.5.

    Returns:
        roc_auc_macro, roc_auc_micro, pr_auc_macro, pr_auc_micro, f1_macro (over the tags that have
        positives) and f1_micro, both where a tag is predicted from 0.5 on, per_class
        {name: {roc_auc, pr_auc, f1, support}}, undefined_classes {name: reason} and calibration, of
        all tags together (see `calibration`). With thresholds also f1_macro_tuned, f1_micro_tuned,
        and f1_tuned and threshold of each class.
    """
    scores, truth = _checked_tags(scores, targets, names)
    averages, areas, undefined = _one_vs_rest(scores, truth, names)
    f1_averages, f1 = _f1_scores(truth, scores >= THRESHOLD)
    per_class = {
        name: {**areas[c], "f1": f1[c], "support": int(truth[:, c].sum())}
        for c, name in enumerate(names)
    }
    if thresholds is not None:
        limits = [thresholds.get(name, THRESHOLD) for name in names]
        tuned_averages, f1 = _f1_scores(truth, scores >= limits, "_tuned")
        f1_averages |= tuned_averages
        for name, limit, value in zip(names, limits, f1, strict=True):
            per_class[name] |= {"f1_tuned": value, "threshold": limit}
    return {
        **averages,
        **f1_averages,
        "per_class": per_class,
        "undefined_classes": undefined,
        "calibration": calibration(scores.ravel(), truth.ravel()),
    }


def regression(scores: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Measures predictions of C real-valued targets, such as valence and arousal.

    Args:
        scores: (N, C) predictions, in the targets' own units.
        targets: (N, C) true values.
        names: the C target names.

    Returns:
        r2, rmse and mae (each the unweighted mean over the targets), per_target
        {name: {r2, rmse, mae}} and undefined_classes {name: reason}, the targets whose R² is
        undefined because they do not vary; those are left out of the mean R².

    Raises:
        ValueError: on no rows, shapes or names that disagree, or values that are not finite.
    """
    scores, targets = _checked(scores, targets, names)
    undefined = {}
    per_target: dict[str, dict[str, float | None]] = {}
    for c, name in enumerate(names):
        truth, predicted = targets[:, c], scores[:, c]
        varies = truth.min() < truth.max()
        if not varies:
            undefined[name] = CONSTANT
        per_target[name] = {
            "r2": float(sk.r2_score(truth, predicted)) if varies else None,
            "rmse": float(sk.root_mean_squared_error(truth, predicted)),
            "mae": float(sk.mean_absolute_error(truth, predicted)),
        }
    averages = {
        key: _mean([row[key] for row in per_target.values() if row[key] is not None])
        for key in ("r2", "rmse", "mae")
    }
    return {**averages, "per_target": per_target, "undefined_classes": undefined}


def pairs(scores: np.ndarray, is_match: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Measures how well audio and text are told to belong together.

    Args:
        scores: (M,) logit of a match minus logit of a mismatch; above 0 means match.
        is_match: (M,) 1 where audio and text belong together, 0 where they do not.
        weight: (M,) pairs with weight 0 are left out, all others count alike.

    Returns:
        accuracy, roc_auc, pr_auc, pairs (how many counted) and undefined_classes, which says why
        when the two areas are None.

    Raises:
        ValueError: when the lengths disagree, no pair is left, or a score is not finite.
    """
    scores = np.asarray(scores, np.float64)
    is_match, weight = np.asarray(is_match), np.asarray(weight)
    if scores.ndim != 1 or not scores.shape == is_match.shape == weight.shape:
        raise ValueError(
            f"scores {scores.shape}, is_match {is_match.shape} and weight {weight.shape} "
            "must all be (M,)"
        )
    kept = weight != 0
    if not kept.any():
        raise ValueError(
            f"no pair to evaluate: {len(scores)} pairs, none with a weight other than 0; "
            "check that the split has records with both audio and text"
        )
    scores, truth = scores[kept], is_match[kept] > 0
    _require_finite(scores[:, None], "scores")
    averages, _, undefined = _one_vs_rest(scores[:, None], truth[:, None], ["match"])
    return {
        "accuracy": float(sk.accuracy_score(truth, scores > 0)),
        "roc_auc": averages["roc_auc_macro"],
        "pr_auc": averages["pr_auc_macro"],
        "pairs": len(scores),
        "undefined_classes": undefined,
    }


TASK_METRICS: dict[str, Callable[..., dict[str, Any]]] = {
    "single_label": single_label,
    "multi_label": multi_label,
    "regression": regression,
}


def _checked(
    scores: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f"scores {scores.shape} and targets {targets.shape} must both be (rows, classes)"
        )
    if scores.shape[1] != len(names) or len(set(names)) != len(names):
        raise ValueError(
            f"{scores.shape[1]} columns of scores need as many different names, "
            f"got {len(names)} of which {len(set(names))} differ"
        )
    if not scores.size:
        raise ValueError(
            f"nothing to evaluate: {scores.shape[0]} rows of {scores.shape[1]} classes; "
            "check that the split has labelled records"
        )
    _require_finite(scores, "scores")
    _require_finite(targets, "targets")
    return scores, targets


def _checked_tags(
    scores: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and whether each tag holds, (N, C)."""
    scores, targets = _checked(scores, targets, names)
    other = np.argwhere((targets != 0) & (targets != 1))
    if other.size:
        row, column = other[0]
        raise ValueError(
            f"targets row {row}, tag '{names[column]}': {targets[row, column]} is neither 0 nor 1; "
            "multi-label targets say whether a tag holds"
        )
    return scores, targets > 0


def _require_finite(values: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{what} row {bad[0]}: not finite ({bad.size} of {len(values)} rows are so); "
            "look for a diverged model or a missing target value"
        )


def _one_vs_rest(
    scores: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> tuple[dict[str, float | None], list[dict[str, float | None]], dict[str, str]]:
    """Areas under the ROC and PR curves: averages, one entry per class, and what is undefined."""
    areas: list[dict[str, float | None]] = []
    undefined = {}
    for c, name in enumerate(names):
        if truth[:, c].any() and not truth[:, c].all():
            areas.append(_areas(truth[:, c], scores[:, c]))
        else:
            undefined[name] = NO_NEGATIVES if truth[:, c].any() else NO_POSITIVES
            areas.append({"roc_auc": None, "pr_auc": None})
    mixed = truth.any() and not truth.all()
    micro = _areas(truth.ravel(), scores.ravel()) if mixed else {}
    averages = {}
    for key in ("roc_auc", "pr_auc"):
        averages[f"{key}_macro"] = _mean([area[key] for area in areas if area[key] is not None])
        averages[f"{key}_micro"] = micro.get(key)
    return averages, areas, undefined


def _areas(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    return {
        "roc_auc": float(sk.roc_auc_score(truth, scores)),
        "pr_auc": float(sk.average_precision_score(truth, scores)),
    }


def _f1_scores(
    truth: np.ndarray, predicted: np.ndarray, suffix: str = ""
) -> tuple[dict[str, float | None], list[float | None]]:
    """The averages of F1, and F1 of each class, None where nothing is true."""
    each = [
        _f1(truth[:, c], predicted[:, c]) if truth[:, c].any() else None
        for c in range(truth.shape[1])
    ]
    averages = {
        f"f1_macro{suffix}": _mean([value for value in each if value is not None]),
        f"f1_micro{suffix}": _f1(truth.ravel(), predicted.ravel()),
    }
    return averages, each


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(sk.f1_score(truth, predicted, pos_label=True, zero_division=0))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
