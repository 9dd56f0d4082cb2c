"""Linear models of many features: as scikit-learn has them, whatever the rotation."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from atbert_jax.evaluation import linear_fit

TASKS = ("single_label", "multi_label", "regression")


def make(task: str, clips: int = 40, features: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first three tell the targets, with noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(clips, features))
    scores = values[:, :3] + 0.3 * rng.normal(size=(clips, 3))
    if task == "single_label":
        return values, np.eye(3)[scores.argmax(axis=1)]
    return values, (scores > 0) * 1.0 if task == "multi_label" else scores


@pytest.mark.parametrize("features", [90, 12])
@pytest.mark.parametrize("task", TASKS)
def test_a_rotation_changes_nothing(task, features):
    values, targets = make(task, features=features)
    size = np.sqrt((values**2).sum(axis=1).mean())
    features = linear_fit.Features(values)
    assert features.rotated.shape == (40, min(40, values.shape[1]))
    kernel, bias = linear_fit.fit(features.rotated, targets, task, 0.1)
    found = values @ features.weights(kernel) + bias
    np.testing.assert_allclose(found, features.rotated @ kernel + bias, atol=1e-8)
    if task == "regression":
        expected = Ridge(alpha=0.1).fit(values / size, targets).predict(values / size)
    elif task == "single_label":
        model = LogisticRegression(C=10, tol=1e-8, max_iter=5000)
        model.fit(values / size, targets.argmax(axis=1))
        expected = model.decision_function(values / size)
    else:
        model = LogisticRegression(C=10, tol=1e-8, max_iter=5000)
        expected = np.stack(
            [model.fit(values / size, tag).decision_function(values / size) for tag in targets.T],
            axis=1,
        )
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_two_classes_and_classes_that_no_clip_has():
    values, targets = make("single_label")
    two = np.flatnonzero(targets[:, 1] == 0)
    kernel, bias = linear_fit.fit(values[two], targets[two], "single_label", 0.01)
    outputs = values[two] @ kernel + bias
    assert (outputs.argmax(axis=1) == targets[two].argmax(axis=1)).all()
    assert np.exp(outputs[:, 1] - outputs.max(axis=1)).max() < 1e-6
    one = np.flatnonzero(targets[:, 2])
    kernel, bias = linear_fit.fit(values[one], targets[one], "single_label", 0.01)
    assert not kernel.any()
    assert bias.argmax() == 2


def test_a_tag_of_all_or_none_keeps_what_it_is():
    values, targets = make("multi_label")
    targets[:, 0], targets[:, 1] = 0.0, 1.0
    kernel, bias = linear_fit.fit(values, targets, "multi_label", 0.01)
    assert not kernel[:, :2].any()
    assert kernel[:, 2].any()
    assert bias[0] < -4
    assert bias[1] > 4


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_those_of_the_training(task):
    rng = np.random.default_rng(1)
    outputs, (_, targets) = rng.normal(size=(40, 3)), make(task)
    found = linear_fit.losses(outputs, targets, task)
    if task == "single_label":
        chances = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
        expected = -np.log((chances * targets).sum(axis=1))
    elif task == "multi_label":
        chances = 1 / (1 + np.exp(-outputs))
        right = np.where(targets > 0, chances, 1 - chances)
        expected = -np.log(right).mean(axis=1)
    else:
        expected = ((outputs - targets) ** 2).mean(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("task", TASKS)
def test_the_penalty_is_that_of_groups_left_out(task):
    """Copies of a clip in one group cannot vouch for each other."""
    values, targets = make(task, clips=30)
    values, targets = np.repeat(values, 2, axis=0), np.repeat(targets, 2, axis=0)
    apart, together = np.arange(60), np.arange(60) // 2
    known = linear_fit.choose(linear_fit.Features(values).rotated, targets, apart, task)
    honest = linear_fit.choose(linear_fit.Features(values).rotated, targets, together, task)
    assert honest.loss > known.loss
    assert honest.penalty in linear_fit.PENALTIES
    assert np.isclose(honest.loss, linear_fit.losses(honest.outputs, targets, task).mean())


def test_without_groups_there_is_nothing_to_choose_by():
    values, targets = make("single_label")
    found = linear_fit.choose(values, targets, np.zeros(40), "single_label")
    assert found == linear_fit.Choice(linear_fit.DEFAULT_PENALTY, None, None)


def test_a_class_that_nobody_else_has_does_not_choose_the_penalty():
    values, targets = make("single_label")
    groups = np.repeat(np.arange(8), 5)
    alone = (groups == 0)[:, None] * 1.0
    targets = np.concatenate([targets * (1 - alone), alone], axis=1)
    choice = linear_fit.choose(linear_fit.Features(values).rotated, targets, groups, "single_label")
    assert choice.loss < 10  # the logit of a class that no clip has is -30


def test_with_one_group_a_class_there_is_nothing_to_choose_by():
    values, _ = make("single_label", clips=12)
    groups = np.repeat(np.arange(3), 4)
    rotated = linear_fit.Features(values).rotated
    choice = linear_fit.choose(rotated, np.eye(3)[groups], groups, "single_label")
    assert choice == linear_fit.Choice(linear_fit.DEFAULT_PENALTY, None, None)
