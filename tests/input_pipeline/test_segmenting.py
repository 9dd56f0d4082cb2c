"""Tests of segmenting: where the segments of clips of any length begin."""

import math

import numpy as np
import pytest

from input_pipeline.segmenting import Segmenting


def test_windows_cover_twenty_seconds_once():
    segmenting = Segmenting(segments=3, seconds=1.0)
    assert segmenting.chunks(20.0) == 7
    starts, masks = zip(*(segmenting.starts(20.0, chunk) for chunk in range(7)), strict=True)
    starts, masks = np.concatenate(starts), np.concatenate(masks)
    assert masks.dtype == np.float32
    np.testing.assert_allclose(starts, np.arange(21), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(masks, [1] * 20 + [0])


@pytest.mark.parametrize("seconds", [0.25, 0.96, 3.0])
@pytest.mark.parametrize("duration", [0.2, 2.9, 7.5, 12.01, 59.99])
def test_windows_mask_exactly_what_holds_sound(duration, seconds):
    segmenting = Segmenting(segments=4, seconds=seconds)
    chunks = segmenting.chunks(duration)
    real = [segmenting.starts(duration, chunk)[1].sum() for chunk in range(chunks)]
    assert sum(real) == math.ceil(duration / seconds)
    assert real[:-1] == [4] * (chunks - 1)
    assert real[-1] >= 1


def test_spaced_is_linspace():
    segmenting = Segmenting(segments=5, seconds=3.0, layout="spaced")
    starts, mask = segmenting.starts(20.0)
    np.testing.assert_allclose(starts, np.linspace(0, 17, 5), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(mask, np.ones(5, np.float32))
    assert segmenting.chunks(20.0) == segmenting.chunks(3600.0) == 1


def test_one_spaced_segment_is_in_the_middle():
    starts, _ = Segmenting(segments=1, seconds=3.0, layout="spaced").starts(20.0)
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
    assert segmenting.chunks(duration) == chunks
    found = segmenting.starts(duration)
    np.testing.assert_allclose(found[0], starts)
    np.testing.assert_array_equal(found[1], mask)


def test_rounding_of_a_header_is_no_sound():
    segmenting = Segmenting(segments=3, seconds=1.0)
    assert segmenting.chunks(6.0005) == 2
    assert segmenting.chunks(6.002) == 3
    np.testing.assert_array_equal(segmenting.starts(1.0005)[1], [1, 0, 0])
    # However short the clip, its first segment is real.
    np.testing.assert_array_equal(segmenting.starts(0.0005)[1], [1, 0, 0])


@pytest.mark.parametrize("layout", ["windows", "spaced"])
@pytest.mark.parametrize("duration", [3.0, 3.3, 10.0, 60.0])
def test_crops_lie_inside_and_reach_everywhere(layout, duration):
    segmenting = Segmenting(segments=3, seconds=1.0, layout=layout)
    positions = np.linspace(0, 1, 101)[:-1]
    starts = np.stack([segmenting.starts(duration, position=float(p))[0] for p in positions])
    assert starts.min() == 0
    assert starts.max() <= duration - 1
    assert starts.max() > duration - 1 - 0.02 * duration
    assert (np.diff(starts, axis=1) >= 0).all()
    if duration > 3:
        assert (np.diff(starts, axis=0) > 0).all()
    if layout == "windows":
        np.testing.assert_allclose(np.diff(starts, axis=1), 1)


def test_samples():
    assert Segmenting(seconds=1.0).samples(22_050) == 22_050
    assert Segmenting(seconds=0.1001).samples(16_000) == 1602


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segments": 0}, "segments=0, seconds=1.0"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"layout": "random"}, "segmenting.layout is 'random'; use 'windows' or 'spaced'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        Segmenting(**settings)
