"""Linear models of many features of few clips, with the penalty that cross-validation chooses."""

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from atbert_jax.models.linear_probe import LIMIT

# On the squared weights, of features whose squares sum to 1 for the average clip.
PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
# Without groups to leave out there is nothing to choose by.
DEFAULT_PENALTY = 0.01
FOLDS = 5
# The logit of a class that no clip has.
NEVER = -30.0
# What cosines may be multiplied with, as in `objectives.alignment`.
SHARPNESS = np.geomspace(1.0, 100.0, 41)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What cross-validation says of some features.

    Attributes:
        penalty: The best one.
        loss: Of the clips left out: cross entropy, or squared error of numbers; None where there
            was nothing to leave out.
        outputs: (N, C) logits or numbers of clips while they were left out.
    """

    penalty: float
    loss: float | None
    outputs: np.ndarray | None


def standards(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse deviation (D,) of features (N, D); 0 of what is the same everywhere."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-3)
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


class Features:
    """Features of the same clips, rotated into no more dimensions than there are clips.

    A linear model with a penalty on its squared weights is the same after any rotation, and its
    weights lie among the clips. So nothing is lost, and fitting takes as long as there are clips,
    whatever the number of features. Where there are fewer features than clips, they stay as they
    are.

    Args:
        values: (N, D), standardised.
    """

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values, np.float64)
        self._size = np.sqrt(max((values**2).sum(axis=1).mean(), 1e-12))
        self._values = values / self._size
        if values.shape[1] < len(values):
            self.rotated, self._back = self._values, None
            return
        power, directions = np.linalg.eigh(self._values @ self._values.T)
        kept = power > 1e-10 * power[-1]
        self.rotated = directions[:, kept] * np.sqrt(power[kept])
        self._back = directions[:, kept] / np.sqrt(power[kept])

    def weights(self, rotated: np.ndarray) -> np.ndarray:
        """Weights (D, C) of the features as they were given, of those (R, C) of the rotated."""
        if self._back is None:
            return rotated / self._size
        return self._values.T @ (self._back @ rotated) / self._size


@dataclasses.dataclass(frozen=True)
class Model:
    """A linear model of features (N, D), which it standardises.

    Attributes:
        kernel: (D, C) weights of standardised features.
        bias: (C,).
        mean: (D,) of the features that it was fitted on.
        scale: (D,) their inverse deviation; 0 of what was the same everywhere.
    """

    kernel: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Logits, or numbers (N, C), of features (N, D)."""
        return np.clip((values - self.mean) * self.scale, -LIMIT, LIMIT) @ self.kernel + self.bias


def learn(values: np.ndarray, targets: np.ndarray, task: str, penalty: float) -> Model:
    """The linear model of features (N, D) as they were heard; see `fit`."""
    features = Features(standardised(values))
    kernel, bias = fit(features.rotated, targets, task, penalty)
    return Model(features.weights(kernel), bias, *standards(values))


def standardised(values: np.ndarray) -> np.ndarray:
    """Features (N, D) with mean 0 and deviation 1, none of them farther out than `LIMIT`."""
    mean, scale = standards(values)
    return np.clip((values - mean) * scale, -LIMIT, LIMIT)


def fit(
    features: np.ndarray, targets: np.ndarray, task: str, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D, C) and biases (C,) of logits, or of numbers.

    Single-label: multinomial logistic regression on the largest target. Multi-label: one logistic
    regression for each tag. Regression: ridge, in closed form. A class that no clip has gets no
    chance; a tag that all have or none has, what it has there.

    Args:
        features: (N, D).
        targets: (N, C).
        task: 'single_label', 'multi_label' or 'regression'.
        penalty: On the squared weights.
    """
    size, classes = features.shape[1], targets.shape[1]
    if task == "regression":
        centre, bias = features.mean(axis=0), targets.mean(axis=0)
        inner = features - centre
        gram = inner.T @ inner + penalty * np.eye(size)
        kernel = np.linalg.solve(gram, inner.T @ (targets - bias))
        return kernel, bias - centre @ kernel
    kernel, bias = np.zeros((size, classes)), np.full(classes, NEVER)
    if task == "single_label":
        known, labels = np.unique(targets.argmax(axis=1), return_inverse=True)
        if len(known) == 1:
            bias[known] = 0.0
            return kernel, bias
        found = _logistic(features, labels, penalty)
        # Of two classes there is one logit, that of the second against the first.
        mine = known if len(known) > 2 else known[1:]
        bias[known] = 0.0
        kernel[:, mine], bias[mine] = found.coef_.T, found.intercept_
        return kernel, bias
    for number, tag in enumerate((targets > 0.5).astype(int).T):
        count = tag.sum()
        if 0 < count < len(tag):
            found = _logistic(features, tag, penalty)
            kernel[:, number], bias[number] = found.coef_[0], found.intercept_[0]
        else:
            bias[number] = np.log((count + 0.5) / (len(tag) - count + 0.5))
    return kernel, bias


def _logistic(features: np.ndarray, labels: np.ndarray, penalty: float) -> LogisticRegression:
    return LogisticRegression(C=1 / penalty, max_iter=1000, tol=1e-5).fit(features, labels)


def losses(outputs: np.ndarray, targets: np.ndarray, task: str) -> np.ndarray:
    """(N,) cross entropy of logits (N, C), or squared errors of numbers."""
    if task == "regression":
        return ((outputs - targets) ** 2).mean(axis=1)
    if task == "multi_label":
        return (np.logaddexp(0, outputs) - targets * outputs).mean(axis=1)
    highest = outputs.max(axis=1, keepdims=True)
    total = np.log(np.exp(outputs - highest).sum(axis=1)) + highest[:, 0]
    return total - (outputs * targets).sum(axis=1)


def choose(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, task: str) -> Choice:
    """The penalty with the least loss on clips of groups that were left out in turn.

    A clip whose class nobody else has says nothing of a penalty, and does not count.

    Args:
        features: (N, D), as `Features` rotates them.
        targets: (N, C).
        groups: (N,), clips of one stay together.
        task: As of `fit`.
    """
    folds = list(_folds(targets, groups, task))
    counts = np.ones(len(targets), bool)
    if task == "single_label":
        for train, left in folds:
            is_known = targets[train].max(axis=0) > 0
            counts[left] = is_known[targets[left].argmax(axis=1)]
    if not folds or not counts.any():
        return Choice(DEFAULT_PENALTY, None, None)
    best = Choice(DEFAULT_PENALTY, np.inf, None)
    for penalty in PENALTIES:
        outputs = np.zeros(targets.shape)
        for train, left in folds:
            kernel, bias = fit(features[train], targets[train], task, penalty)
            outputs[left] = features[left] @ kernel + bias
        loss = float(losses(outputs[counts], targets[counts], task).mean())
        if loss < best.loss:
            best = Choice(penalty, loss, outputs)
    return best


def _folds(
    targets: np.ndarray, groups: np.ndarray, task: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = min(FOLDS, len(np.unique(groups)))
    if task == "single_label":
        labels = targets.argmax(axis=1)
        count = min(count, np.bincount(labels).max())
        if count > 1:
            with warnings.catch_warnings():  # of classes that not every fold can have
                warnings.simplefilter("ignore", UserWarning)
                yield from StratifiedGroupKFold(count).split(targets, labels, groups)
    elif count > 1:
        yield from GroupKFold(count).split(targets, groups=groups)


def sharpness(outputs: np.ndarray | None, targets: np.ndarray) -> float:
    """What to multiply cosines with, so that their softmax over all captions errs least.

    Args:
        outputs: (N, D), what was said of clips while they were left out; None where none was.
        targets: (N, D), the vectors of their captions.
    """
    if outputs is None:
        return 10.0
    texts, own = np.unique(targets, axis=0, return_inverse=True)
    heard, texts = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (outputs, texts))
    cosines = heard @ texts.T
    chosen = np.eye(len(texts))[own.reshape(-1)]
    return float(min(SHARPNESS, key=lambda by: losses(by * cosines, chosen, "single_label").mean()))
