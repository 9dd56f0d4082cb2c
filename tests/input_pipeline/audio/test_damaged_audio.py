"""Audio files that are damaged in known ways: what is read of them, or why they are refused."""

import os
import pickle
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record
from tests.audio_files import RATE, originals


def announce(flac: bytes, frames: int) -> bytes:
    """Writes another length into the 36 bits of the header of a FLAC."""
    changed = bytearray(flac)
    changed[21] = changed[21] & 0xF0 | frames >> 32
    changed[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(changed)


def with_rate(wav: bytes, rate: int) -> bytes:
    return wav[:24] + struct.pack("<I", rate) + wav[28:]


def header(text: str) -> bytes:
    """A .npy file of zeros with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(800)


def shape(values: str) -> bytes:
    return header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({values}), }}\n")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refusal(path: Path, data: bytes | None = None) -> str:
    """Why a file is refused, by the reader that training uses."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        Reader(RATE, Segmenting(3, 0.25)).segments(Record("r", path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError):
        read(path, RATE)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("size", [0, 1, 12, 44])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "npy"])
def test_files_that_end_in_or_behind_their_header(tmp_path, size, extension):
    name = "float.npy" if extension == "npy" else f"pcm16.{extension}"
    data = originals().get(name) or originals()[f"short.{extension}"]
    assert refusal(tmp_path / f"cut.{extension}", data[:size])


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff", "npy"])
def test_one_sample(tmp_path, extension):
    path = tmp_path / f"one.{extension}"
    if extension == "npy":
        np.save(path, np.float32([0.5]))
    else:
        soundfile.write(path, np.float32([0.5]), RATE)
    assert read(path, RATE) == pytest.approx([0.5])
    waveform, samples = Reader(RATE, Segmenting(3, 0.25)).segments(Record("r", path))
    assert np.flatnonzero(waveform).tolist() == [0]
    assert samples.tolist() == [1, 0, 0]
    if extension != "npy":
        with pytest.raises(AudioError, match="holds no samples"):
            read(path, RATE // 4)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "holds samples that are not finite numbers"),
        (np.inf, "holds samples that are not finite numbers"),
        (-np.inf, "holds samples that are not finite numbers"),
        (3e38, "holds samples of 3e+38, which is too much for sound"),
        (-1e12, "holds samples of 1e+12, which is too much for sound"),
    ],
)
@pytest.mark.parametrize("extension", ["wav", "npy"])
def test_samples_that_are_no_sound(tmp_path, value, reason, extension, recwarn):
    path = tmp_path / f"loud.{extension}"
    # Infinities of both signs, and sums beyond float32, must not come out of the mean as a warning.
    samples = np.float32([[value, -value], [value, value]] * 500)
    if extension == "npy":
        np.save(path, samples)
    else:
        soundfile.write(path, samples, RATE, "FLOAT")
    assert refusal(path) == reason
    assert not recwarn


@pytest.mark.parametrize("content", ["pcm16.wav", "short.flac", "short.ogg", "pcm16.aiff"])
@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "opus", "au"])
def test_the_content_and_not_the_extension_decides(tmp_path, content, extension):
    right, wrong = tmp_path / content, tmp_path / f"wrong.{extension}"
    for path in (right, wrong):
        path.write_bytes(originals()[content])
    np.testing.assert_array_equal(read(wrong, RATE), read(right, RATE))


def test_audio_that_is_called_an_array_and_the_other_way_round(tmp_path):
    assert "not a readable .npy" in refusal(tmp_path / "a.npy", originals()["pcm16.wav"])
    assert "not readable as audio" in refusal(tmp_path / "a.wav", originals()["float.npy"])
    assert "not readable as audio" in refusal(tmp_path / "b.wav", b"this is no audio\n" * 100)


def test_pickles_are_never_opened(tmp_path):
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung), 1], dtype=object)
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    for path in (tmp_path / "trap.npy", tmp_path / "pickle.npy", tmp_path / "pickle.wav"):
        refusal(path, None if path.exists() else pickle.dumps(Trap(sprung)))
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (200,\n"), "readable .npy"),
        (header("(" * 9000), "readable .npy"),
        (header("{'descr': '<f4, 'shape': 3)}"), "readable .npy"),
        (header("{'descr': 'a4', 'fortran_order': False, 'shape': (9,), }\n"), "not"),
        (shape("2147483648,"), "readable .npy"),
        (shape("9223372036854775807, 9223372036854775807"), "readable .npy"),
        (shape("-5,"), "readable .npy"),
        (shape("0, 2"), "readable .npy|holds no samples"),
        (shape("200, 0"), "readable .npy|holds no samples"),
        (shape("1, 1000000"), "readable .npy"),
    ],
)
@pytest.mark.filterwarnings("ignore:Data type alias|overflow encountered")
def test_damaged_headers_of_arrays(tmp_path, data, reason):
    assert re.search(reason, refusal(tmp_path / "clip.npy", data))


def test_more_channels_than_sound_has(tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((1, 100_000), np.float32))
    assert refusal(tmp_path / "wide.npy").endswith("not float32 (1, 100000)")


@pytest.mark.parametrize("rate", [1, 99, 2**31 - 1])
def test_a_sample_rate_that_none_is(tmp_path, rate):
    data = with_rate(originals()["pcm16.wav"], rate)
    assert (
        refusal(tmp_path / "a.wav", data) == f"its header says {rate} Hz, which is no sample rate"
    )


@pytest.mark.parametrize("frames", [0, 2**31, 2**36 - 1])
def test_a_length_that_is_missing_or_absurd_takes_no_memory(tmp_path, frames):
    path = tmp_path / "long.flac"
    path.write_bytes(announce(originals()["long.flac"], frames))
    tracemalloc.start()
    assert file_duration(path, RATE) == 20
    assert len(read(path, RATE, 10.0, 5.0)) == 5 * RATE
    assert len(read(path, RATE, 18.0)) == 2 * RATE
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_length_that_is_hard_to_believe_is_counted(tmp_path):
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(60 * RATE), RATE)
    assert path.stat().st_size * 64 < 60 * RATE
    assert file_duration(path, RATE) == 60
    whole = originals()["long.mp3"]
    path = tmp_path / "cut.mp3"
    path.write_bytes(whole[: len(whole) // 10])
    assert file_duration(path, RATE) == len(read(path, RATE)) / RATE < 2


def test_a_few_megabytes_are_read_block_by_block(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(originals()["pcm24.wav"])
    whole = read(path, RATE)
    monkeypatch.setattr("atbert_jax.input_pipeline.audio.decoding.BLOCK", 1000)
    np.testing.assert_array_equal(read(path, RATE), whole)
    np.testing.assert_array_equal(read(path, RATE, 0.1, 0.3), whole[800:3200])


@pytest.mark.parametrize("extension", ["wav", "npy"])
def test_times_of_any_size(tmp_path, extension):
    path = tmp_path / f"clip.{extension}"
    path.write_bytes(originals()[f"float.{extension}"])
    whole = read(path, RATE)
    np.testing.assert_array_equal(read(path, RATE, 0.0, 1e308), whole)
    reader = Reader(RATE, Segmenting(3, 0.25))
    expected, _ = reader.segments(Record("r", path))
    found, _ = reader.segments(Record("r", path, duration=1e308))
    np.testing.assert_array_equal(found, expected)
    for start in (1e12, 1e308):
        with pytest.raises(AudioError, match=r"holds no samples after 1e\+"):
            read(path, RATE, start, 1e308)
    with pytest.raises(AudioError, match="holds no samples after"):
        read(path, RATE, 0.1, 1e-300)


def test_file_names_of_other_encodings_and_too_long_ones(tmp_path):
    path = tmp_path / os.fsdecode(b"l\xe5t.wav")
    try:
        path.write_bytes(originals()["pcm16.wav"])
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    assert len(read(path, RATE)) == round(0.6 * RATE)
    assert "no such file" in refusal(tmp_path / f"{'x' * 300}.wav")
    assert "name too long" in refusal(tmp_path / f"{'x' * 300}.npy")
