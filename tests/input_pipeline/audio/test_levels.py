"""The level of what is heard: the scale of numbers, and channels that cancel each other."""

import logging

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio import levels, remarks
from atbert_jax.input_pipeline.audio.decoding import AudioError, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record

RATE = 16_000
SOUND = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch):
    monkeypatch.setattr(remarks, "_remarks", {})


def noise(seed: int, count: int = 2 * RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(count)


def remarks_of(path, caplog) -> str:
    """What is remarked of a file, which is warned of by its name, once."""
    with caplog.at_level(logging.WARNING):
        for start in (0.0, 0.5, 0.0):
            read(path, RATE, start, 0.5)
    said = [row.getMessage() for row in caplog.records]
    assert said == [f"{path}: {remarks.of(str(path))}"] * bool(said)
    return remarks.of(str(path))


@pytest.mark.parametrize(
    ("bits", "kind"),
    [
        (16, "float32"),
        (16, "float64"),
        (16, "int32"),
        (16, "int64"),
        (24, "float32"),
        (24, "int32"),
        (24, "int64"),
        (32, "float32"),
        (32, "int64"),
    ],
)
@pytest.mark.parametrize("extension", ["npy", "wav"])
def test_numbers_of_another_scale(tmp_path, caplog, bits, kind, extension):
    path = tmp_path / f"scaled.{extension}"
    scaled = np.rint(SOUND * 2 ** (bits - 1)).astype(kind)
    if extension == "npy":
        np.save(path, scaled)
    elif kind.startswith("float"):
        soundfile.write(path, scaled, RATE, "FLOAT" if kind == "float32" else "DOUBLE")
    else:
        pytest.skip("libsndfile scales integers by itself")
    said = remarks_of(path, caplog)
    np.testing.assert_allclose(read(path, RATE), SOUND, rtol=0, atol=2**-15)
    assert said.startswith(f"holds numbers as of integers of {bits} bits, up to ")
    assert said.endswith(f"; they are divided by {2.0 ** (bits - 1):g}")


@pytest.mark.parametrize(
    "values",
    [
        np.int16(SOUND * 100),
        np.int8(SOUND * 127),
        np.int32(np.int16(SOUND * 2000)) << 16,
        np.int32(noise(0) * 2000) << 8,
        np.int32(SOUND * 2**31),
        np.int64(SOUND * 2**63),
        np.float32(SOUND),
        np.float32(SOUND * 20),
        np.float32(np.sign(SOUND)),
        np.float64(SOUND * 1e-6),
        np.zeros(2 * RATE, np.float32),
        np.zeros(2 * RATE, np.int64),
    ],
)
def test_numbers_that_are_as_they_should_be(tmp_path, caplog, values):
    path = tmp_path / "right.npy"
    np.save(path, values)
    assert remarks_of(path, caplog) == ""
    full = -float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" else 1
    np.testing.assert_allclose(read(path, RATE), values / full, rtol=1e-6, atol=0)


def test_the_scale_is_that_of_the_file_and_not_of_a_part(tmp_path):
    sound = np.concatenate([noise(0, 60 * RATE) * 1e-4, noise(1, 60 * RATE)]) * 2**15
    path = tmp_path / "mostly_quiet.npy"
    np.save(path, sound.astype(np.float32))
    quiet, loud = read(path, RATE, 10.0, 1.0), read(path, RATE, 90.0, 1.0)
    assert np.std(quiet) == pytest.approx(1e-5, rel=0.1)
    assert np.std(loud) == pytest.approx(0.1, rel=0.1)


def test_what_stands_out_of_its_file_is_refused(tmp_path):
    sound = noise(0, 120 * RATE)
    sound[60 * RATE + 10] = 30_000
    path = tmp_path / "click.npy"
    np.save(path, sound)
    assert len(levels.parts(len(sound))) == levels.PARTS
    assert len(read(path, RATE, 10.0, 1.0)) == RATE
    with pytest.raises(AudioError, match=r"click\.npy: holds samples of 3e\+04, which is too much"):
        read(path, RATE, 60.0, 1.0)


@pytest.mark.parametrize(
    ("channels", "heard"),
    [
        ((1, -1), 0),
        ((1, -0.9), 0),
        ((0.5, -0.6), 0),
        ((-1, 1), 0),
        ((1, -1, 1, -1), 0),
        ((0.01, 0.02, 1, -1), 2),
    ],
)
@pytest.mark.parametrize("hidden", [0.0, 1e-3])
def test_channels_of_opposite_phase(tmp_path, caplog, channels, heard, hidden):
    path = tmp_path / "opposite.wav"
    parts = [gain * SOUND + hidden * noise(n) for n, gain in enumerate(channels)]
    soundfile.write(path, np.stack(parts, 1), RATE, "FLOAT")
    assert f"channel {heard + 1} alone is heard" in remarks_of(path, caplog)
    np.testing.assert_allclose(read(path, RATE), parts[heard], rtol=0, atol=1e-6)
    waveform, _ = Reader(RATE, Segmenting(2, 0.5)).segments(Record("r", path), position=0.5)
    assert np.std(waveform) > 0.05


@pytest.mark.parametrize(
    "parts",
    [
        [SOUND, SOUND],
        [SOUND, 0 * SOUND],
        [0 * SOUND, 0 * SOUND],
        [noise(0), noise(1)],
        [noise(0), SOUND],
        [SOUND + noise(0), SOUND - noise(0)],
        [noise(0) + 0.3 * noise(1), 0.3 * noise(1) - noise(0)],
        [*map(noise, range(64))],
        [SOUND, *[0 * SOUND] * 31],
        [np.roll(SOUND, RATE // 880), SOUND + noise(0)],
    ],
)
def test_the_mean_of_other_channels(tmp_path, caplog, parts):
    path = tmp_path / "usual.wav"
    soundfile.write(path, np.stack(parts, 1), RATE, "FLOAT")
    assert remarks_of(path, caplog) == ""
    np.testing.assert_allclose(read(path, RATE), np.mean(parts, axis=0), rtol=0, atol=1e-6)


def test_a_constant_hides_no_opposite_phase(tmp_path, caplog):
    path = tmp_path / "offset.wav"
    soundfile.write(path, np.stack([SOUND + 0.2, 0.2 - SOUND], 1), RATE, "FLOAT")
    assert "opposite phase" in remarks_of(path, caplog)


def test_of_many_odd_files_some_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            remarks.add(f"/\x1b[2J{number}.wav", "is odd")
    said = [row.getMessage() for row in caplog.records]
    assert said[0] == r"/\x1b[2J0.wav: is odd"
    assert said[remarks.SAID :] == ["what is odd about further files is not said here, but counted"]
    assert remarks.of("/\x1b[2J99.wav") == "is odd"
