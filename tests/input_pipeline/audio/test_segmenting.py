"""Tests of segmenting: where the segments of clips of any length begin."""

import math

import numpy as np
import pytest

from atbert_jax.input_pipeline.audio.segmenting import Segmenting

RATE = 16_000


def test_windows_cover_twenty_seconds_once():
    segmenting = Segmenting(segments=3, seconds=1.0)
    assert segmenting.count(20.0, RATE) == 7
    starts, masks = zip(*(segmenting.starts(20.0, RATE, chunk) for chunk in range(7)), strict=True)
    starts, masks = np.concatenate(starts), np.concatenate(masks)
    assert masks.dtype == np.float32
    np.testing.assert_allclose(starts, np.arange(21), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(masks, [1] * 20 + [0])


@pytest.mark.parametrize("seconds", [0.25, 0.96, 3.0])
@pytest.mark.parametrize("duration", [0.2, 2.9, 7.5, 12.01, 59.99])
def test_windows_mask_exactly_what_holds_sound(duration, seconds):
    segmenting = Segmenting(segments=4, seconds=seconds)
    chunks = segmenting.count(duration, RATE)
    real = [segmenting.starts(duration, RATE, chunk)[1].sum() for chunk in range(chunks)]
    assert sum(real) == math.ceil(duration / seconds)
    assert real[:-1] == [4] * (chunks - 1)
    assert real[-1] >= 1


def test_spaced_is_linspace():
    segmenting = Segmenting(segments=5, seconds=3.0, layout="spaced")
    starts, mask = segmenting.starts(20.0, RATE)
    np.testing.assert_allclose(starts, np.linspace(0, 17, 5), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(mask, np.ones(5, np.float32))
    assert segmenting.count(20.0, RATE) == segmenting.count(3600.0, RATE) == 1


def test_one_spaced_segment_is_in_the_middle():
    starts, _ = Segmenting(segments=1, seconds=3.0, layout="spaced").starts(20.0, RATE)
    np.testing.assert_array_equal(starts, [8.5])


@pytest.mark.parametrize(
    ("layout", "duration", "chunks", "starts", "mask"),
    [
        ("windows", 0.2, 1, [0, 1, 2], [1, 0, 0]),
        ("windows", 60.0, 20, [0, 1, 2], [1, 1, 1]),
        ("spaced", 0.2, 1, [0, 0, 0], [1, 1, 1]),
        ("spaced", 60.0, 1, [0, 29.5, 59], [1, 1, 1]),
    ],
)
def test_very_short_and_very_long(layout, duration, chunks, starts, mask):
    segmenting = Segmenting(segments=3, seconds=1.0, layout=layout)
    assert segmenting.count(duration, RATE) == chunks
    found = segmenting.starts(duration, RATE)
    np.testing.assert_allclose(found[0], starts)
    np.testing.assert_array_equal(found[1], mask)


def test_rounding_of_a_header_is_no_sound():
    segmenting = Segmenting(segments=3, seconds=1.0)
    assert segmenting.count(6.0005, RATE) == 2
    assert segmenting.count(6.002, RATE) == 3
    np.testing.assert_array_equal(segmenting.starts(1.0005, RATE)[1], [1, 0, 0])
    # However short the clip, its first segment is real.
    np.testing.assert_array_equal(segmenting.starts(0.0005, RATE)[1], [1, 0, 0])


@pytest.mark.parametrize("layout", ["windows", "spaced"])
@pytest.mark.parametrize("duration", [3.0, 3.3, 10.0, 60.0])
def test_crops_lie_inside_and_reach_everywhere(layout, duration):
    segmenting = Segmenting(segments=3, seconds=1.0, layout=layout)
    positions = np.linspace(0, 1, 101)[:-1]
    starts = np.stack([segmenting.starts(duration, RATE, position=float(p))[0] for p in positions])
    assert starts.min() == 0
    assert starts.max() <= duration - 1
    assert starts.max() > duration - 1 - 0.02 * duration
    assert (np.diff(starts, axis=1) >= 0).all()
    if duration > 3:
        assert (np.diff(starts, axis=0) > 0).all()
    if layout == "windows":
        np.testing.assert_allclose(np.diff(starts, axis=1), 1)


@pytest.mark.parametrize("samples", [464_000, 464_015, 464_016, 465_984, 5_000_000, 57_600_000])
def test_evenly_spaced_chunks_are_those_of_the_published_rule(samples):
    segmenting = Segmenting(segments=1, seconds=29.0, chunks=16)
    duration = samples / RATE
    hop = (samples - 464_000) // 16
    count = segmenting.count(duration, RATE)
    assert count == (16 if hop else 1)
    found = [segmenting.starts(duration, RATE, chunk)[0][0] * RATE for chunk in range(count)]
    np.testing.assert_allclose(found, np.arange(count) * hop, rtol=0, atol=1e-6)


def test_evenly_spaced_chunks_of_several_segments():
    segmenting = Segmenting(segments=3, seconds=0.5, chunks=4)
    assert segmenting.count(1.2, RATE) == segmenting.count(1.5, RATE) == 1
    assert segmenting.count(9.5, RATE) == 4
    starts, mask = segmenting.starts(9.5, RATE, 3)
    np.testing.assert_allclose(starts, [6, 6.5, 7], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(mask, [1, 1, 1])


def test_a_resampled_file_has_a_last_sample_that_is_rounded_up():
    # 1 290 000 frames at 44.1 kHz are 468 027.2 samples at 16 kHz; 468 028 - 464 000 = 4 * 1007.
    segmenting = Segmenting(segments=1, seconds=29.0, chunks=4)
    starts, _ = segmenting.starts(1_290_000 / 44_100, RATE, 1)
    assert round(starts[0] * RATE, 6) == 1007


@pytest.mark.parametrize("hop", [0.1, 0.25, 1.0, 2.5])
@pytest.mark.parametrize("duration", [0.2, 1.0, 1.05, 5.0, 7.3])
def test_windows_with_a_hop_go_on_until_the_end_is_heard(duration, hop):
    segmenting = Segmenting(segments=1, seconds=1.0, hop=hop)
    count = segmenting.count(duration, RATE)
    starts = np.array([segmenting.starts(duration, RATE, chunk)[0][0] for chunk in range(count)])
    np.testing.assert_allclose(starts, np.arange(count) * hop, rtol=0, atol=1e-12)
    if hop <= 1:
        # The last window is the first that reaches the end.
        ends = starts + 1
        assert ends[-1] >= duration - 1e-9
        assert (ends[:-1] < duration).all()
    else:
        np.testing.assert_allclose(starts, np.arange(0, duration, hop))


def test_a_hop_of_a_chunk_is_the_default():
    for duration in np.linspace(0.01, 70, 999):
        plain, given = Segmenting(3, 0.96), Segmenting(3, 0.96, hop=3 * 0.96)
        count = plain.count(duration, RATE)
        assert count == given.count(duration, RATE) == max(1, math.ceil((duration - 1e-3) / 2.88))
        for chunk in range(count):
            for found, expected in zip(
                given.starts(duration, RATE, chunk),
                plain.starts(duration, RATE, chunk),
                strict=True,
            ):
                np.testing.assert_array_equal(found, expected)


def test_crops_of_training_know_nothing_of_chunks():
    plain, given = Segmenting(3, 1.0), Segmenting(3, 1.0, chunks=16)
    for position in (0.0, 0.4, 0.99):
        found, expected = (s.starts(20.0, RATE, 5, position)[0] for s in (given, plain))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layout": "spaced"}, "one, of 3 segments over the whole clip"),
        ({"chunks": 16}, "16 of 1.5 s, evenly spaced"),
        ({}, "of 1.5 s, one every 1.5 s"),
        ({"hop": 0.25}, "of 1.5 s, one every 0.25 s"),
    ],
)
def test_says_where_chunks_lie(settings, text):
    assert str(Segmenting(3, 0.5, **settings)) == text


def test_samples():
    assert Segmenting(seconds=1.0).samples(22_050) == 22_050
    assert Segmenting(seconds=0.1001).samples(16_000) == 1602


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segments": 0}, "segments=0, seconds=1.0"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"layout": "random"}, "segmenting.layout='random' is none of windows, spaced"),
        ({"hop": 1.0, "chunks": 4}, "hop=1.0 and chunks=4 must be 0 or more, and one of them 0"),
        ({"hop": -1.0}, "hop=-1.0 and chunks=0"),
        ({"chunks": 4, "layout": "spaced"}, "chunks=4 are of windows; with the layout 'spaced'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        Segmenting(**settings)
