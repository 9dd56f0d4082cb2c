"""A head on embeddings: it tells labels and tags as scikit-learn does, and refuses the rest."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from atbert_jax.evaluation import linear_head


def embed(given, *, sample_rate=None):
    raise ValueError(f"asked to embed {given!r}")


def make(examples: int = 60, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose first three tell one of three classes, with noise."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(examples, width)).astype(np.float32)
    return vectors, (vectors[:, :3] + 0.3 * rng.normal(size=(examples, 3))).argmax(axis=1)


@pytest.mark.parametrize("width", [8, 90])
def test_probabilities_are_those_of_scikit_learn(width):
    vectors, classes = make(width=width)
    names = np.array(["rock", "jazz", "folk"])
    head = linear_head.fit(vectors, names[classes], embed, penalty=0.1)
    assert head.labels == ("folk", "jazz", "rock")
    standard = StandardScaler().fit_transform(vectors.astype(np.float64))
    size = np.sqrt((standard**2).sum(axis=1).mean())
    model = LogisticRegression(C=10, tol=1e-8, max_iter=5000).fit(standard / size, names[classes])
    expected = model.predict_proba(standard / size)
    np.testing.assert_allclose(head.probabilities(vectors), expected, atol=2e-3)
    assert head.predict(vectors) == model.predict(standard / size).tolist()


def test_the_penalty_is_chosen_by_groups_that_are_left_out():
    vectors, classes = make(24)
    twice, labels = np.repeat(vectors, 2, axis=0), np.repeat(classes, 2)
    apart = linear_head.fit(twice, labels, embed)
    together = linear_head.fit(twice, labels, embed, groups=np.arange(48) // 2)
    assert together.loss > apart.loss
    assert np.mean(np.array(together.predict(vectors)) == classes) > 0.8
    assert "3 labels of 8 features, loss" in repr(together)


def test_tags_are_lists_and_may_be_none():
    vectors, _ = make()
    tags = [
        [n for n, x in zip(("loud", "slow"), row, strict=True) if x > 0] for row in vectors[:, :2]
    ]
    assert [] in tags
    head = linear_head.fit(vectors, tags, embed)
    found = head.predict(vectors)
    assert np.mean([set(a) == set(b) for a, b in zip(found, tags, strict=True)]) > 0.9
    assert head.probabilities(vectors).shape == (60, 2)
    assert head.task == "multi_label"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["a"] * 60}, "60 examples have 1 different labels"),
        ({"labels": ["a", "b"]}, "60 vectors, 2 labels and 60 groups"),
        ({"groups": [1, 2]}, "60 labels and 2 groups"),
        ({"labels": ["a", ["b"]] * 30}, "some labels are lists"),
        ({"labels": ["a", 1] * 30}, "some labels are texts"),
        ({"labels": [0.5, 1.5] * 30}, "0.5 is no label; .*probe:regression"),
        ({"penalty": 0}, "penalty=0: give a number above 0"),
        ({"given": np.full((60, 8), np.nan)}, "no finite number"),
        ({"given": np.zeros((0, 8))}, "are empty"),
        ({"given": np.zeros(60)}, "asked to embed"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, said):
    vectors, classes = make()
    given = {"given": vectors, "labels": classes, "groups": None, "penalty": None} | change
    with pytest.raises(ValueError, match=said):
        linear_head.fit(embed=embed, **given)


def test_vectors_of_another_model_are_refused():
    vectors, classes = make()
    head = linear_head.fit(vectors, classes, embed, penalty=1)
    with pytest.raises(ValueError, match="7 wide, and the head was fitted on 8"):
        head.predict(vectors[:, :7])
