"""What is asked about next: a class is found by few answers, and the turns are what they say."""

import itertools

import numpy as np
import pytest

from atbert_jax.library.active_learning import DRAWN, NEAR, SKIP, SURE, UNSURE, YES, Sampler
from tests.music_library import index_vectors

WIDTH, SIZE = 64, 1000


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A thousand windows within a narrow cone: 50 are sought, and 50 like them in the query."""
    rng = np.random.default_rng(0)
    of_kind = rng.permutation(np.repeat([0, 1, 2], [50, 50, SIZE - 100]))
    vectors, places = rng.normal(size=(SIZE, WIDTH)), 4 * np.eye(WIDTH)[:2]
    alike = of_kind < 2
    vectors[alike] = vectors[alike] / 2 + places[of_kind[alike]]
    cone = 10 * np.eye(WIDTH)[2]
    vectors += cone
    truth = of_kind == 0
    query = cone + places.sum(axis=0)
    files = {f"{n}.wav": vectors[4 * n : 4 * n + 4] for n in range(SIZE // 4)}
    return index_vectors(tmp_path_factory.mktemp("world"), files), truth, query


def answered(index, truth, query, count):
    """What a listener said who knows the truth, and the reasons for which it was asked about."""
    said, reasons, sampler = {}, [], Sampler(index, query)
    while len(said) < count:
        proposal = sampler.propose(said, np.ones(SIZE, bool))
        said[proposal.window] = YES if truth[proposal.window] else "no"
        reasons.append(proposal.reason)
    return said, reasons, sampler


def precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """How many of the best 50 are what is sought."""
    return truth[np.argsort(-scores)[:50]].mean()


def test_few_answers_find_what_the_query_mixes_with_something_else(world):
    index, truth, query = world
    said, reasons, sampler = answered(index, truth, query, 40)
    assert precision(index.cosines(query), truth) < 0.6
    assert precision(sampler.logits(said), truth) > 0.9
    assert sum(truth[window] for window in said) > 15  # a draw of 40 has two
    assert set(reasons[-2:]) == {SURE, UNSURE}


def test_turns_and_reasons(world):
    index, truth, query = world
    sampler, free = Sampler(index, query), np.ones(SIZE, bool)
    first = sampler.propose({}, free)
    assert (first.reason, first.probability) == (NEAR, None)
    assert first.window == index.cosines(query).argmax()
    yes = {first.window: YES}
    drawn = sampler.propose(yes, free)
    assert drawn.reason == DRAWN
    assert sampler.propose(yes, free) == drawn  # the same after a kill
    both = yes | {int(np.flatnonzero(~truth)[0]): "no"}
    logits = sampler.logits(both)
    sure = sampler.propose(both, free)
    assert sure.reason == SURE
    assert logits[sure.window] == logits[[w for w in range(SIZE) if w not in both]].max()
    unsure = sampler.propose(both | {sure.window: SKIP}, free)
    assert unsure.reason == UNSURE
    assert abs(unsure.probability - 0.5) < abs(sure.probability - 0.5)


def test_a_recording_is_not_asked_about_twice_in_a_row(world):
    index, truth, query = world
    said, _, _ = answered(index, truth, query, 40)
    contents = [index.content_of(window) for window in said]
    assert all(one != other for one, other in itertools.pairwise(contents))


def test_what_is_not_allowed_or_said_is_not_asked_about(world):
    index, _, query = world
    sampler, allowed = Sampler(index, query), np.zeros(SIZE, bool)
    allowed[[4, 5]] = True  # of one recording
    said = {}
    for _ in range(2):
        window = sampler.propose(said, allowed).window
        said[window] = SKIP
    assert said.keys() == {4, 5}
    assert sampler.propose(said, allowed) is None


def test_examples_can_stand_in_the_place_of_a_query(world):
    index, truth, _ = world
    window = int(np.flatnonzero(truth)[0])
    near = Sampler(index).propose({window: YES, 0: SKIP}, np.ones(SIZE, bool))
    assert near.reason == NEAR
    assert truth[near.window]
    with pytest.raises(ValueError, match="nothing to begin with"):
        Sampler(index).propose({}, np.ones(SIZE, bool))


def test_vectors_that_are_the_same_everywhere_or_nothing_do_no_harm(tmp_path):
    vectors = np.tile([1.0, 0, 0], (6, 1))
    vectors[:, 1] = [0, 1, 2, 3, 4, 5]
    vectors[5] = 0
    index = index_vectors(tmp_path, {f"{n}.wav": v[None] for n, v in enumerate(vectors)})
    sampler = Sampler(index, np.array([0, 1.0, 0]))
    said = {}
    for _ in range(5):
        window = sampler.propose(said, np.ones(6, bool)).window
        said[window] = YES if window > 2 else "no"
    assert sampler.propose(said, np.ones(6, bool)) is None  # one is near to nothing
    assert np.isfinite(sampler.logits(said)).all()
