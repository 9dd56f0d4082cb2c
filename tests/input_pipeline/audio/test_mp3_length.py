"""All of an mp3 is heard, whatever its header says of its length."""

import dataclasses
import io
import struct

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio import mpeg
from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record
from tests.tone_files import (
    RATE,
    encode,
    frames_of,
    segments,
    tone,
    variable,
)


@pytest.mark.parametrize("quiet_first", [False, True])
def test_a_variable_bit_rate_without_a_header(tmp_path, quiet_first):
    path = tmp_path / "variable.mp3"
    path.write_bytes(variable(quiet_first))
    with soundfile.SoundFile(path) as file:  # what the decoder alone would make of it
        assert abs(file.frames / RATE - 10) > 3
    assert file_duration(path, RATE, exact=False) == pytest.approx(10, abs=0.1)
    whole = read(path, RATE)
    assert len(whole) / RATE == pytest.approx(10, abs=0.1)
    loud = np.abs(whole[: 4 * RATE]).mean(), np.abs(whole[-4 * RATE :]).mean()
    assert (loud[1] > 100 * loud[0]) if quiet_first else (loud[0] > 100 * loud[1])
    for position in np.linspace(0, 0.999, 10):
        assert segments(path, float(position))[1].tolist() == [RATE, RATE]


def test_crops_of_long_files_lie_within_them(tmp_path):
    """Those of more than 12 s are not decoded whole."""
    path = tmp_path / "variable.mp3"
    path.write_bytes(variable(True) + variable(True))
    reader = Reader(RATE, Segmenting(2, 1.0, "spaced"))
    assert reader.duration(Record("r", path), 0.5) == pytest.approx(20, abs=0.2)
    for position in np.linspace(0, 0.999, 10):
        assert segments(path, float(position))[1].tolist() == [RATE, RATE]
        assert reader.segments(Record("r", path), position=float(position))[1].all()


@pytest.mark.parametrize("frames", [1, 40, 86, 500, 2**31])
def test_a_header_that_tells_another_length(tmp_path, frames):
    path, whole = tmp_path / "header.mp3", encode(tone(3.0, 440), "mp3")
    place = whole.index(b"Info") if b"Info" in whole else whole.index(b"Xing")
    path.write_bytes(whole[: place + 8] + struct.pack(">I", frames) + whole[place + 12 :])
    assert len(read(path, RATE)) == 3 * RATE
    assert file_duration(path, RATE, exact=False) == 3


def test_tags_and_damage_between_frames(tmp_path):
    path, whole = tmp_path / "tags.mp3", encode(tone(3.0, 440), "mp3")
    tag = b"ID3\x04\0\0\0\0\x10\0" + b"Xing\xff\xfb\x90" * 292 + bytes(4)
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 1000, 1, 0) + bytes(8 + 1000)
    behind = b"TAG" + bytes(125)
    path.write_bytes(tag + whole + ape + behind + tag + whole + behind)
    assert len(read(path, RATE)) == 6 * RATE
    bare = frames_of(whole)
    for damage in (b"\xff", b"\xff" * 500, bytes(5000)):
        path.write_bytes(bare + damage + bare)
        assert len(read(path, RATE)) / RATE == pytest.approx(6.1, abs=0.1)
    path.write_bytes((bare + b"\0") * 1001)
    with pytest.raises(AudioError, match=r"tags\.mp3: is damaged, or joined, in 1000 places; c"):
        read(path, RATE)


def test_frames_are_as_many_as_the_encoder_says():
    for rate in (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000):
        for channels in (1, 2):
            mp3 = encode(tone(2.0, 440, rate, channels), "mp3", rate)
            (run,) = mpeg.runs(mp3)
            assert run.announced == run.frames > 10
            assert (run.sample_rate, run.channels, run.layer) == (rate, channels, 3)
            bare = dataclasses.replace(run, announced=None, begin=run.first)
            made = bare.announcement(mp3) + mp3[run.first : run.end]
            (again,) = mpeg.runs(made)
            assert again.announced == again.frames == run.frames
            with soundfile.SoundFile(io.BytesIO(made)) as file:
                assert len(file.read()) == pytest.approx(run.samples, abs=1200)


def layer_two(seconds: float, bitrates: tuple[int, ...]) -> bytes:
    """Silence as MPEG-1 layer II, 44.1 kHz, mono; frames of these bit rates' indices in turn."""
    data, count = b"", round(seconds * 44_100 / 1152)
    for number in range(count):
        index = bitrates[number * len(bitrates) // count]
        size = 144_000 * mpeg.RATES_OF_BITS[1, 2][index] // 44_100
        data += (b"\xff\xfd" + bytes([index << 4, 0xC0])).ljust(size, b"\0")
    return data


def test_layer_two(tmp_path):
    path = tmp_path / "silence.mp2"
    path.write_bytes(layer_two(3.0, (4,)))
    assert file_duration(path, RATE) == pytest.approx(3, abs=0.03)
    path.write_bytes(layer_two(30.0, (4, 10)))
    assert file_duration(path, RATE) == pytest.approx(30, abs=0.03)
    path.write_bytes(layer_two(30.0, (10, 4)))
    with pytest.raises(AudioError, match=r"silence\.mp2: its bit rate varies, .* ffmpeg -i"):
        file_duration(path, RATE)


def test_a_part_of_an_mp3_whose_frames_lean_on_many_others(tmp_path):
    path = tmp_path / "low.mp3"
    for rate in (8000, 16_000, 22_050, 44_100):
        sound = tone(6.0, 440, rate)
        path.write_bytes(encode(sound, "mp3", rate, compression_level=0.99))
        whole = read(path, rate)
        for start in np.arange(0.5, 5.5, 0.23):
            begin = round(start * rate)
            part = read(path, rate, begin / rate, 0.25)
            np.testing.assert_allclose(part, whole[begin : begin + len(part)], rtol=0, atol=1e-5)
