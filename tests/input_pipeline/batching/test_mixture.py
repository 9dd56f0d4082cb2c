"""Tests of the stream's order: permutations, shares, and that a place alone decides."""

import numpy as np
import pytest
import tensorflow as tf

from atbert_jax.input_pipeline.batching.mixture import PATTERN, Mixture


def stream(mixture: Mixture, start: int, stop: int) -> np.ndarray:
    """Record and epoch (N, 2) at the places from `start` to `stop`."""
    places = tf.data.Dataset.range(start, stop).map(mixture.locate)
    return np.array(list(places.as_numpy_iterator()))


@pytest.mark.parametrize("size", [1, 2, 3, 17, 256])
def test_each_epoch_is_a_permutation(size):
    found = stream(Mixture([size], [1.0], 0), 0, 3 * size).reshape(3, size, 2)
    np.testing.assert_array_equal(found[..., 1], np.repeat([[0], [1], [2]], size, 1))
    for epoch in found[..., 0]:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))
    if size > 3:
        assert not np.array_equal(found[0, :, 0], found[1, :, 0])
        assert not np.array_equal(found[0, :, 0], np.arange(size))


def test_each_source_is_a_permutation_within_a_mixture():
    sizes, offsets = (5, 12, 3), (0, 5, 17)
    found = stream(Mixture(sizes, [1.0, 2.0, 5.0], 3), 0, 240)
    for size, offset in zip(sizes, offsets, strict=True):
        own = found[(found[:, 0] >= offset) & (found[:, 0] < offset + size)]
        assert len(own) > 2 * size
        for epoch in range(len(own) // size):
            part = own[epoch * size : (epoch + 1) * size]
            np.testing.assert_array_equal(np.sort(part[:, 0]), offset + np.arange(size))
            np.testing.assert_array_equal(part[:, 1], epoch)


@pytest.mark.parametrize(
    ("weights", "length", "shares"),
    [
        ((1.0, 1.0), 2, (1, 1)),
        ((3.0, 1.0), 4, (3, 1)),
        ((30, 10, 60), 10, (3, 1, 6)),
        ((0.5, 0.0, 0.5), 2, (1, 0, 1)),
        ((0.123, 0.877, 0.0), 1000, (123, 877, 0)),
    ],
)
def test_shares_are_exact_over_a_pattern(weights, length, shares):
    sizes = (7, 11, 13)[: len(weights)]
    source = np.repeat(np.arange(len(sizes)), sizes)
    for turn in range(2):
        found = stream(Mixture(sizes, weights, 0), turn * length, (turn + 1) * length)
        counts = np.bincount(source[found[:, 0]], minlength=len(sizes))
        np.testing.assert_array_equal(counts, shares)
        # And they are spread: at no place is one source more than one record off its share.
        sofar = np.cumsum(source[found[:, 0], None] == np.arange(len(sizes)), axis=0)
        due = np.arange(1, length + 1)[:, None] * np.array(shares) / length
        assert np.abs(sofar - due).max() <= 1


def test_a_tiny_share_still_has_its_place():
    found = stream(Mixture([4, 4], [1e-9, 1.0], 0), 0, PATTERN + 1)
    assert (found[:, 0] < 4).sum() == 1


def test_an_empty_source_has_no_share():
    found = stream(Mixture([4, 0, 4], [1.0, 5.0, 1.0], 0), 0, 80)
    np.testing.assert_array_equal(np.bincount(found[:, 0]), [10] * 8)


def test_a_place_alone_is_the_place_within_the_stream():
    mixture = Mixture([6, 9], [1.0, 2.0], 5)
    whole = stream(mixture, 0, 60)
    np.testing.assert_array_equal(stream(mixture, 41, 60), whole[41:])
    for place in (0, 1, 7, 31, 59):
        record, epoch = Mixture([6, 9], [1.0, 2.0], 5).locate(tf.constant(place, tf.int64))
        assert (int(record), int(epoch)) == tuple(whole[place])
    far = stream(mixture, 10**12, 10**12 + 1)[0]
    assert 0 <= far[0] < 15
    assert far[1] > 10**10


def test_seeds_and_sources_are_shuffled_differently():
    orders = [stream(Mixture([50], [1.0], seed), 0, 50)[:, 0] for seed in range(4)]
    for number, order in enumerate(orders):
        assert not any(np.array_equal(order, other) for other in orders[:number])
    both = stream(Mixture([50, 50], [1.0, 1.0], 0), 0, 100)[:, 0]
    assert not np.array_equal(both[both < 50], both[both >= 50] - 50)


def test_every_record_comes_at_every_place():
    found = stream(Mixture([6], [1.0], 0), 0, 1200).reshape(200, 6, 2)[..., 0]
    counts = np.stack([np.bincount(found[:, place], minlength=6) for place in range(6)])
    # 33 on the average; the shuffle of so few is not perfectly even.
    assert counts.min() > 10
    assert counts.max() < 100


@pytest.mark.parametrize(
    ("sizes", "weights"), [((5, 5), (0.0, 0.0)), ((5, 5), (2.0, -1.0)), ((0, 5), (1.0, 0.0))]
)
def test_refuses_weights_that_give_nothing(sizes, weights):
    with pytest.raises(ValueError, match=r"config\.data\.mixture=.* must hold positive weights"):
        Mixture(sizes, weights, 0)
