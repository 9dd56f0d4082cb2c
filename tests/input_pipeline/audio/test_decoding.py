"""Tests of reading audio: formats, rates, parts of files, segments, memory, and broken files."""

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio import memory
from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from tests.noise import RATE, noise, record


def tone(seconds: float, rate: int = RATE, pitch: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5 that begins in phase at every rate."""
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def frames_read(monkeypatch):
    """The number of frames of each read from a file."""
    counts = []
    whole = soundfile.SoundFile.read

    def count(file, *arguments, **settings):
        samples = whole(file, *arguments, **settings)
        counts.append(len(samples))
        return samples

    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    return counts


@pytest.mark.parametrize(
    ("extension", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 1e-7),
        ("wav", "FLOAT", 1e-7),
        ("wav", "DOUBLE", 1e-7),
        ("WAV", "PCM_16", 2**-15),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
        ("aiff", "PCM_16", 2**-15),
        ("ogg", "VORBIS", 0.02),
        ("opus", "OPUS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.02),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats(tmp_path, extension, subtype, tolerance, channels):
    path = tmp_path / f"tone.{extension}"
    kind = {"opus": "OGG"}.get(extension, extension.upper())
    soundfile.write(path, np.stack([tone(1.0)] * channels, 1), RATE, subtype, format=kind)
    waveform = read(path, RATE)
    assert waveform.dtype == np.float32
    assert waveform.shape == (RATE,)
    # Codecs ring where the tone begins and ends abruptly.
    edge = 800 if tolerance > 0.01 else 0
    inner = slice(edge, RATE - edge)
    np.testing.assert_allclose(waveform[inner], tone(1.0)[inner], rtol=0, atol=tolerance)
    assert file_duration(path, RATE) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_channels_are_averaged(tmp_path, channels):
    path = tmp_path / "many.wav"
    parts = np.random.default_rng(0).uniform(-1, 1, (1000, channels)).astype(np.float32)
    soundfile.write(path, parts, RATE, "FLOAT")
    np.testing.assert_allclose(read(path, RATE), parts.mean(axis=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]
)
def test_rates(tmp_path, rate):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(1.0, rate), rate, "FLOAT")
    waveform = read(path, RATE)
    assert len(waveform) == RATE
    inner = slice(800, -800)
    np.testing.assert_allclose(waveform[inner], tone(1.0)[inner], rtol=0, atol=1e-4)


def test_resampling_leaves_no_alias(tmp_path):
    path = tmp_path / "high.wav"
    soundfile.write(path, tone(1.0, 48_000, pitch=12_000.0), 48_000, "FLOAT")
    assert np.abs(read(path, RATE)[800:-800]).max() < 1e-4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([0.5, -1, 0.25]), [0.5, -1, 0.25]),
        (np.float64([[0.5, 0.1], [-1, 0]]), [0.3, -0.5]),
        (np.int16([-32768, 16384, 0]), [-1, 0.5, 0]),
        (np.int32([[-(2**31)], [2**30]]), [-1, 0.5]),
        (np.float16([0.5]), [0.5]),
    ],
)
def test_npy(tmp_path, values, expected):
    path = tmp_path / "clip.npy"
    np.save(path, values)
    waveform = read(path, RATE)
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, expected, rtol=0, atol=1e-7)
    assert file_duration(path, RATE) == len(values) / RATE


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "npy"])
def test_a_part_is_a_slice_of_the_whole(tmp_path, extension):
    path = tmp_path / f"noise.{extension}"
    if extension == "npy":
        np.save(path, noise(3.0))
    else:
        # At a low bit rate the frames of an mp3 lean on the ones before.
        level = {"compression_level": 0.9} if extension == "mp3" else {}
        soundfile.write(path, noise(3.0), RATE, **level)
    whole = read(path, RATE)
    tolerance = 1e-6 if extension in ("ogg", "mp3") else 0
    for start, duration in ((0.0, 0.5), (1.25, 0.75), (2.5, None), (2.5, 9.0), (0.33333, 0.1)):
        begin = round(start * RATE)
        end = None if duration is None else begin + round(duration * RATE)
        part = read(path, RATE, start, duration)
        np.testing.assert_allclose(part, whole[begin:end], rtol=0, atol=tolerance)


def test_a_part_at_another_rate_is_a_slice_of_the_whole(tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise(3.0, 44_100), 44_100, "FLOAT")
    whole, part = read(path, RATE), read(path, RATE, 1.0, 1.0)
    np.testing.assert_allclose(part, whole[RATE : 2 * RATE], rtol=0, atol=1e-5)


def test_only_the_part_is_decoded(tmp_path, frames_read):
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(60.0, 8000), 8000)
    assert len(read(path, 8000, 30.0, 2.0)) == 16_000
    reader = Reader(8000, Segmenting(segments=3, seconds=1.0), memory_mb=100)
    reader.segments(record(path), chunk=4)
    reader.segments(record(path), position=0.5)
    reader.segments(record(path, start=10.0, duration=5.0))
    Reader(8000, Segmenting(3, 1.0, "spaced")).segments(record(path))
    # A margin of 0.2 s on both sides comes with each part, as far as the file goes.
    assert frames_read == [19_200, 27_200, 27_200, 43_200, 9600, 11_200, 9600]


def test_only_the_part_of_an_array_is_in_memory(tmp_path):
    path = tmp_path / "long.npy"
    np.save(path, np.zeros(2_000_000, np.float32))
    read(path, RATE, 0.0, 0.1)
    tracemalloc.start()
    read(path, RATE, 60.0, 0.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def write_text(path):
    path.write_text("this is no audio\n" * 100)


def write_truncated_header(path):
    soundfile.write(path, noise(0.1), RATE, format="WAV")
    path.write_bytes(path.read_bytes()[:20])


def write_nan(path):
    samples = noise(0.1)
    samples[100] = np.nan
    soundfile.write(path, np.stack([noise(0.1), samples], 1), RATE, "FLOAT")


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, noise(0.1))


def write_array(values):
    return lambda path: np.save(path, values, allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("missing.wav", lambda path: None, "no such file"),
        ("missing.npy", lambda path: None, "No such file"),
        ("empty.wav", lambda path: path.touch(), "not readable as audio"),
        ("empty.npy", lambda path: path.touch(), "not a readable .npy waveform"),
        ("folder.wav", lambda path: path.mkdir(), "not readable as audio"),
        ("folder.npy", lambda path: path.mkdir(), "not a readable .npy waveform"),
        ("text.mp3", write_text, "not readable as audio"),
        ("text.npy", write_text, "not a readable .npy waveform"),
        ("text.raw", write_text, "not readable as audio"),
        ("truncated.wav", write_truncated_header, "not readable as audio|holds no samples"),
        ("silent.wav", lambda p: soundfile.write(p, np.zeros(0), RATE), "holds no samples"),
        ("nan.wav", write_nan, "holds samples that are not finite numbers"),
        ("inf.npy", write_array(np.float32([0, np.inf])), "not finite"),
        ("objects.npy", write_array(np.array([{}, 1])), "not a readable .npy waveform"),
        ("pickle.npy", lambda p: p.write_bytes(pickle.dumps([1])), "not a readable .npy waveform"),
        ("archive.npy", write_archive, "not a readable .npy waveform"),
        ("nothing.npy", write_array(np.zeros(0, np.float32)), "not a readable|holds no samples"),
        ("number.npy", write_array(np.float32(0.5)), r"not float32 \(\)"),
        ("cube.npy", write_array(np.zeros((2, 2, 2))), r"not float64 \(2, 2, 2\)"),
        ("complex.npy", write_array(np.zeros(9, complex)), "not complex128"),
        ("words.npy", write_array(np.array(["a"])), "not <U1"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, write, reason):
    path = tmp_path / name
    write(path)
    with pytest.raises(AudioError, match=rf"{name}: .*({reason})") as error:
        Reader(RATE, Segmenting()).segments(record(path))
    assert "\n" not in str(error.value)
    with pytest.raises(AudioError, match=name):
        read(path, RATE)


def test_start_behind_the_end(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, noise(1.0), RATE)
    with pytest.raises(AudioError, match=r"short\.wav: starts at 5 s but ends at 1 s"):
        Reader(RATE, Segmenting()).segments(record(path, start=5.0))
    with pytest.raises(AudioError, match=r"short\.wav: holds no samples after 5 s"):
        read(path, RATE, 5.0)


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path):
    path = tmp_path / "broken.wav"
    soundfile.write(path, noise(1.0), RATE)
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    assert len(read(path, RATE)) == RATE // 2


@pytest.mark.parametrize("layout", ["windows", "spaced"])
@pytest.mark.parametrize("seconds", [0.2, 2.5, 30.0])
@pytest.mark.parametrize("chunk", [0, 1])
def test_segments_are_slices_with_silence_behind(tmp_path, layout, seconds, chunk):
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(seconds), RATE, "FLOAT")
    segmenting = Segmenting(segments=4, seconds=0.5, layout=layout)
    chunk = min(chunk, segmenting.count(seconds, RATE) - 1)
    waveform, samples = Reader(RATE, segmenting).segments(record(path), chunk)
    assert waveform.shape == (4, 8000)
    assert waveform.dtype == np.float32
    assert samples.dtype == np.int32
    starts, mask = segmenting.starts(seconds, RATE, chunk)
    np.testing.assert_array_equal(samples > 0, mask)
    sound = noise(seconds)
    for segment, start, real, count in zip(waveform, starts, mask, samples, strict=True):
        begin = round(start * RATE)
        expected = sound[begin : begin + 8000] if real else sound[:0]
        assert count == len(expected)
        np.testing.assert_array_equal(segment, np.pad(expected, (0, 8000 - count)))


@pytest.mark.parametrize("layout", ["windows", "spaced"])
@pytest.mark.parametrize("duration", [0.3, 3.0, 14.0])
def test_a_stretch_of_a_file_ends_where_it_ends(tmp_path, layout, duration):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.ones(20 * RATE), RATE, "FLOAT")
    # The record is shorter than its one segment.
    reader = Reader(RATE, Segmenting(segments=1, seconds=15.0, layout=layout))
    waveform, _ = reader.segments(record(path, start=2.0, duration=duration))
    assert waveform.sum() == round(duration * RATE)
    assert reader.duration(record(path, start=2.0, duration=duration)) == duration
    assert reader.duration(record(path, start=19.5, duration=duration)) == min(0.5, duration)


def test_memory_is_within_the_budget_and_changes_no_answer(tmp_path, monkeypatch, opened):
    records = []
    for number in range(3):
        records.append(record(tmp_path / f"{number}.wav"))
        soundfile.write(records[-1].path, noise(1.0) / (number + 1), RATE, "FLOAT")
    monkeypatch.setattr(memory, "RECENT", 0)
    segmenting = Segmenting(segments=2, seconds=0.5)

    def twice(memory_mb: float) -> tuple[int, list[np.ndarray]]:
        opened.clear()
        reader = Reader(RATE, segmenting, memory_mb)
        answers = [reader.segments(entry, position=0.3)[0] for entry in records * 2]
        return len(opened), answers

    clip_mb = RATE * 4 / 2**20
    none, expected = twice(0)
    assert none == 6
    # Room for two of the three clips, and for all.
    for memory_mb, reads in ((0.9 * clip_mb, 6), (2.5 * clip_mb, 4), (3 * clip_mb, 3)):
        count_of_reads, answers = twice(memory_mb)
        assert count_of_reads == reads
        np.testing.assert_array_equal(answers, expected)


def test_many_threads_get_the_same_answers(tmp_path):
    records = []
    for number in range(8):
        records.append(record(tmp_path / f"{number}.wav"))
        soundfile.write(records[-1].path, noise(0.5) / (number + 1), RATE, "FLOAT")
    segmenting = Segmenting(segments=2, seconds=0.25)
    expected = [Reader(RATE, segmenting).segments(entry)[0] for entry in records]
    shared = Reader(RATE, segmenting, memory_mb=4 * RATE * 2 / 2**20)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda entry: shared.segments(entry)[0], records * 10))
    np.testing.assert_array_equal(answers, expected * 10)
