"""Files whose headers do not tell all of their sound: every part of them is heard, or refused."""

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio import flac, streams
from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record
from tests import trial
from tests.tone_files import (
    KINDS,
    PITCHES,
    RATE,
    encode,
    pitch_at,
    segments,
    tone,
    variable,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3])
def test_files_that_were_joined_are_heard_to_the_end(tmp_path, kind, count):
    path = tmp_path / f"joined.{kind}"
    path.write_bytes(b"".join(encode(tone(8.0, pitch), kind) for pitch in PITCHES[:count]))
    assert file_duration(path, RATE) == file_duration(path, RATE, exact=False) == 8 * count
    whole = read(path, RATE)
    assert len(whole) == 8 * count * RATE
    for number, pitch in enumerate(PITCHES[:count]):
        assert pitch_at(whole, 8 * number + 4) == pitch
        # Evaluation and training find the same there.
        chunk, _ = segments(path, chunk=4 * number + 2)
        crop, real = segments(path, position=(8 * number + 4) / (8 * count - 2))
        for found in (chunk, crop):
            assert pitch_at(found.reshape(-1), 0.5) == pitch
        assert real.tolist() == [RATE, RATE]
    part = read(path, RATE, 7.0, 2.0)
    np.testing.assert_allclose(part, whole[7 * RATE : 9 * RATE], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_joined_to_itself(tmp_path, kind):
    path = tmp_path / f"twice.{kind}"
    path.write_bytes(2 * encode(tone(3.0, 440), kind))
    assert len(read(path, RATE)) == 6 * RATE


def test_large_flac_files_that_were_joined(tmp_path):
    sound = np.random.default_rng(0).uniform(-1, 1, (60 * RATE, 1))
    one, path = encode(sound, "flac"), tmp_path / "joined.flac"
    assert len(one) > flac.LARGE
    path.write_bytes(one)
    assert streams.find(path) == ()
    for more in (one, encode(sound[:RATE], "flac")):
        path.write_bytes(one + more)
        length = 60 + (60 if more is one else 1)
        assert file_duration(path, RATE) == length
        np.testing.assert_allclose(read(path, RATE, 60, 0.5), sound[: RATE // 2, 0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_as_it_stands(tmp_path, kind):
    path = tmp_path / f"whole.{kind}"
    path.write_bytes(encode(tone(3.0, 440, channels=2), kind))
    assert streams.find(path) == ()


def test_parts_that_do_not_fit_each_other_are_refused(tmp_path):
    for kind in KINDS:
        path = tmp_path / f"it's joined.{kind}"
        stereo = encode(tone(2.0, 440, channels=2), kind)
        path.write_bytes(encode(tone(2.0, 440), kind) + stereo)
        with pytest.raises(AudioError, match="16000 Hz with 1 channels, and 16000 Hz with 2") as e:
            read(path, RATE)
        assert str(e.value).startswith(f"{path}: is joined of parts that do not fit each other")
        assert "convert it: ffmpeg -i '" in str(e.value)


def announce(whole: bytes, riff: int, data: int) -> bytes:
    place = whole.index(b"data") + 4
    begin = whole[:4] + struct.pack("<I", riff) + whole[8:place]
    return begin + struct.pack("<I", data) + whole[place + 4 :]


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0, 0), (8, 0), (36, 0), (2**32 - 1, 2**32 - 1), (0, 2**32 - 1), (16_036, 16_000)],
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_that_was_never_finished(tmp_path, riff, data, subtype):
    path = tmp_path / "recording.wav"
    whole = encode(tone(3.0, 440), "wav", subtype=subtype)
    path.write_bytes(announce(whole, riff, data))
    assert file_duration(path, RATE) == 3
    sound = read(path, RATE)
    assert len(sound) == 3 * RATE
    assert pitch_at(sound, 2.5) == 440


def test_what_is_behind_the_sound_of_a_wav_is_not_heard(tmp_path):
    path, whole = tmp_path / "chunks.wav", encode(tone(3.0, 440), "wav")
    chunk = b"LIST" + struct.pack("<I", 8000) + b"\x7f" * 8000
    for behind in (chunk, b"TAG" + b"\x7f" * 5000, b"ID3\x04\0\0\0\0\x40\0" + b"\x7f" * 8192):
        path.write_bytes(whole + behind)
        assert len(read(path, RATE)) == 3 * RATE


@pytest.mark.parametrize("total", [0, 1, 3 * RATE - 1, 10 * RATE, 2**36 - 1])
def test_a_flac_whose_length_is_unknown_or_wrong(tmp_path, total):
    path, whole = tmp_path / "piped.flac", encode(tone(3.0, 440), "flac")
    path.write_bytes(flac.with_total(whole[:42], total) + whole[42:])
    assert file_duration(path, RATE) == 3
    assert pitch_at(read(path, RATE), 2.7) == 440


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
def test_a_file_that_breaks_off_has_crops_of_sound_alone(tmp_path, kind):
    path, noise = tmp_path / f"cut.{kind}", np.random.default_rng(0).normal(0, 0.2, (12 * RATE, 1))
    whole = encode(noise, kind)
    path.write_bytes(whole[: len(whole) // 2])
    length = file_duration(path, RATE)
    assert 4 < length < 7
    assert len(read(path, RATE)) == pytest.approx(length * RATE, abs=1)
    for position in np.linspace(0, 0.999, 10):
        crop, real = segments(path, float(position))
        assert real.tolist() == [RATE, RATE]
        assert np.abs(crop[:, -RATE // 4 :]).mean(axis=1).min() > 0.05


def test_a_header_that_nobody_corrects_gives_no_silence(tmp_path, monkeypatch):
    """The reader does not rely on lengths being right: crops are sound, or refused."""
    path = tmp_path / "promise.mp3"
    path.write_bytes(variable(quiet_first=True))
    monkeypatch.setattr(streams, "find", lambda path: ())
    with soundfile.SoundFile(path) as file:
        assert file.frames / RATE > 13
    for layout in ("windows", "spaced"):
        reader, heard, refused = Reader(RATE, Segmenting(2, 1.0, layout)), 0, 0
        for position in np.linspace(0, 0.999, 10):
            try:
                _, real = reader.segments(Record("r", path), position=float(position))
                heard += int(real.min() > RATE / 2)
            except AudioError as error:
                refused += int(str(error).startswith(f"{path}: "))
        assert heard + refused == 10
        assert refused
    with pytest.raises(AudioError, match=r"promise\.mp3: only 10\.\d of its \d\d\.\d s can be"):
        file_duration(path, RATE)


@pytest.mark.parametrize("subtype", ["GSM610"])
def test_a_codec_that_cannot_be_entered_in_the_middle(tmp_path, subtype):
    path = tmp_path / "phone.wav"
    soundfile.write(path, tone(20.0, 440, 8000), 8000, subtype)
    with soundfile.SoundFile(path) as file:
        assert not file.seekable()
    whole = read(path, RATE)
    assert len(whole) / RATE == pytest.approx(20, abs=0.1)
    np.testing.assert_allclose(read(path, RATE, 15.0, 1.0), whole[15 * RATE : 16 * RATE], atol=1e-4)
    crop, real = segments(path, 0.9)
    assert real.tolist() == [RATE, RATE]
    assert pitch_at(crop.reshape(-1), 1.0) == 440


def test_a_file_that_changes_is_looked_into_again(tmp_path):
    path, whole = tmp_path / "changing.ogg", encode(tone(3.0, 440), "ogg")
    for count in (1, 3, 1, 2):
        path.write_bytes(whole * count)
        assert file_duration(path, RATE) == 3 * count


def test_no_descriptor_stays_open(tmp_path):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux tells its open files")
    joined, broken = tmp_path / "joined.ogg", tmp_path / "broken.flac"
    joined.write_bytes(2 * encode(tone(1.0, 440), "ogg"))
    broken.write_bytes(encode(tone(1.0, 440), "flac")[:200])
    before = len(os.listdir(folder))  # noqa: PTH208
    for _ in range(5):
        read(joined, RATE, 0.5, 1.0)
        with pytest.raises(AudioError):
            read(broken, RATE)
    assert len(os.listdir(folder)) == before  # noqa: PTH208


@pytest.mark.parametrize(
    "unit",
    [
        b"\xff",
        b"\xff\xfb\x90\0",
        b"\xff\xfb\x90\x44\xff",
        b"\xff\xe2\x18\xc4" + bytes(68),
        b"ID3\x04\0\0\0\0\0\0",
        b"\xff\xfb\x90\x44Xing",
        b"OggS\0\2" + bytes(21) + b"OggS\0\0" + bytes(21),
        b"fLaC\0\0\0\x22\x10\0\x10\0" + bytes(30),
        b"fLaC" + b"\xff\xf8\xc9\x18",
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0",
    ],
    ids=lambda unit: unit[:6].hex(),
)
def test_files_that_are_made_to_take_long(tmp_path, unit):
    for name in ("long.mp3", "long.wav"):
        path = tmp_path / name
        path.write_bytes(unit * (4_000_000 // len(unit)))
        began = time.process_time()
        answer = trial.outcome(lambda path=path: file_duration(path, RATE), AudioError)
        # Some are frames of silence.
        assert answer > 1000 if isinstance(answer, float) else answer.startswith("refused: ")
        assert time.process_time() - began < 5
