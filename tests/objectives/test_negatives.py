"""The samplers: their weights in closed form, and what is drawn with them."""

import jax
import numpy as np
import pytest

from atbert_jax.objectives import negatives
from tests import tiny

QUERIES, WIDTH, LENGTH, ROWS = 3, 4, 5, 6
N = LENGTH * ROWS


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)


MASKED = np.array([0, 7, 29])
CANDIDATES = (np.arange(N) != MASKED[:, None]) & (np.arange(N) != 12)
SAME_ROW = MASKED[:, None] // LENGTH == np.arange(N) // LENGTH


def closed_form(embeddings: np.ndarray, name: str) -> np.ndarray:
    """Chances (Q, N) of the first draw, by loops."""
    chances = np.zeros((QUERIES, N))
    for q, masked in enumerate(MASKED):
        others = [n for n in range(N) if CANDIDATES[q, n]]
        distance = {n: np.linalg.norm(embeddings[masked] - embeddings[n]) for n in others}
        least, most = min(distance.values()), max(distance.values())
        distance = {n: (d - least) / (most - least) for n, d in distance.items()}
        mean, std = np.mean(list(distance.values())), np.std(list(distance.values()))
        for n, d in distance.items():
            inside = mean - 1.96 * std <= d <= mean + 1.96 * std
            chances[q, n] = {
                "current_sequence": SAME_ROW[q, n],
                "current_minibatch": 1.0,
                "cans_similar": inside * (1 - d),
                "cans_dissimilar": inside * d,
            }[name]
    return chances / chances.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", negatives.SAMPLERS)
def test_the_histogram_of_the_draws_follows_the_weights(embeddings, name):
    draws = 20_000

    @jax.jit
    @jax.vmap
    def run(key):
        return negatives.draw(name, embeddings[MASKED], embeddings, CANDIDATES, SAME_ROW, 1, key)

    index, there = run(jax.random.split(jax.random.key(0), draws))
    assert there.all()
    chances = closed_form(embeddings, name)
    for q in range(QUERIES):
        found = np.bincount(np.asarray(index)[:, q, 0], minlength=N) / draws
        # Nothing outside the band, of another sequence, or the position itself.
        assert set(np.flatnonzero(found)) <= set(np.flatnonzero(chances[q]))
        deviation = np.sqrt(chances[q] * (1 - chances[q]) / draws)
        assert (np.abs(found - chances[q]) <= 5 * deviation + 1e-12).all()


def test_the_band_leaves_out_the_nearest_and_the_farthest():
    # 38 candidates at distances around 10, a duplicate and one far away.
    queries = np.zeros((1, 1), np.float32)
    embeddings = np.concatenate([[0.001, 100.0], 10 + np.linspace(-1, 1, 38)])[:, None]
    normalized = tiny.one_program(negatives.normalized)
    distance = normalized(queries, embeddings, np.ones((1, 40), bool))
    same_row = np.ones((1, 40), bool)
    for sampler in (negatives.cans_similar, negatives.cans_dissimilar):
        weights = tiny.one_program(sampler)(distance, same_row)[0]
        assert weights[1] == 0
        assert (weights[2:] > 0).all()
    far = np.concatenate([[0.001], 10 + np.linspace(-1, 1, 38)])[:, None]
    distance = normalized(queries, far, np.ones((1, 39), bool))
    assert tiny.one_program(negatives.cans_similar)(distance, same_row[:, :39])[0, 0] == 0


def test_draws_are_without_replacement_and_end_with_what_there_is():
    weights = np.float32([[1, 0, 2, 3], [0, 0, 0, 0]])
    index, there = tiny.one_program(negatives.sample, 1)(weights, 4, jax.random.key(1))
    assert there.tolist() == [[True] * 3 + [False], [False] * 4]
    assert sorted(index[0, :3].tolist()) == [0, 2, 3]


def test_equal_distances_are_all_candidates():
    """As at the start of training, when the CNN says the same of everything."""
    same = np.ones((4, 3), np.float32)
    candidates = ~np.eye(4, dtype=bool)
    distance = tiny.one_program(negatives.normalized)(same, same, candidates)
    weights = tiny.one_program(negatives.cans_similar)(distance, candidates)
    assert (weights[candidates] == 1).all()


@pytest.mark.parametrize("name", ["cans_similar", "cans_dissimilar"])
def test_rounding_does_not_choose_between_equal_vectors(name):
    """One word in two places is twice a negative, or not at all, in whatever order one adds up."""
    rng = np.random.default_rng(0)
    words = rng.normal(size=(6, 32)).astype(np.float32)
    embeddings = words[[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5]]
    candidates = np.ones((6, len(embeddings)), bool)
    found = set()
    for seed in range(20):  # a twin that differs in the last bits, as on another processor
        noise = 1 + np.random.default_rng(seed).uniform(-2e-7, 2e-7, embeddings.shape)
        noisy = (embeddings * noise).astype(np.float32)
        distance = negatives.normalized(words, noisy, candidates)
        weights = negatives.SAMPLERS[name](distance, candidates)
        found.add((np.asarray(weights) > 0).tobytes())
    assert len(found) == 1
