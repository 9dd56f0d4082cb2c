"""What libsndfile does not read: by ffmpeg where there is one, else named with the way out."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio import foreign, formats
from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read
from atbert_jax.input_pipeline.corpora import clips

RATE = 16_000
FFMPEG = shutil.which("ffmpeg")
# A file of each kind that is told by its first bytes, and ffmpeg's name of the kind.
ADTS = bytes.fromhex("fff15080 0220fc") + bytes(10)
HEADS = {
    "a.m4a": (b"\0\0\0\x20ftypM4A \0\0\2\0isomiso2", "mov"),
    "really_m4a.mp3": (b"\0\0\0\x1cftypisom\0\0\2\0", "mov"),
    "a.wma": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    "a.webm": (bytes.fromhex("1a45dfa3") + b"\x9f\x42\x86\x81", "matroska"),
    "a.aac": (2 * ADTS, "aac"),
    "tagged.aac": (b"ID3\x04\0\0\0\0\0\x05.....".ljust(15, b".") + 2 * ADTS, "aac"),
    "a.amr": (b"#!AMR\n", "amr"),
    "a.ape": (b"MAC \x96\x0f", "ape"),
    "a.wv": (b"wvpk\x10\0\0\0", "wv"),
    "a.ac3": (b"\x0b\x77\x12\x34", "ac3"),
}
# Stands for ffmpeg: it notes what it is asked, and answers with a WAV as one writes it to a pipe.
SUBSTITUTE = """
    #!{python}
    import io, json, pathlib, struct, sys
    folder = pathlib.Path(__file__).parent
    with (folder / "asked.txt").open("a") as file:
        file.write(json.dumps(sys.argv[1:]) + chr(10))
    if (folder / "fails").exists():
        sys.exit("[mov @ 0x5] moov atom not found" + chr(10) + "Invalid data found")
    samples = b"".join(struct.pack("<h", (n % 100) * 200) for n in range({rate}))
    head = struct.pack("<4sI8sIHHIIHH", b"RIFF", 2**32 - 1, b"WAVEfmt ", 16, 1, 1, {rate}, 2 * {rate}, 2, 16)
    sys.stdout.buffer.write(head + b"data" + struct.pack("<I", 2**32 - 1) + samples)
"""  # noqa: E501


@pytest.fixture
def no_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    foreign._decode.cache_clear()


@pytest.fixture
def substitute(monkeypatch, tmp_path) -> Path:
    """The folder of a program that is called ffmpeg."""
    folder = tmp_path / "bin"
    folder.mkdir()
    text = textwrap.dedent(SUBSTITUTE).lstrip().format(python=sys.executable, rate=RATE)
    (folder / "ffmpeg").write_text(text)
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    foreign._decode.cache_clear()
    return folder


def write(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(HEADS[name][0].ljust(4000, b"\x01"))
    return path


@pytest.mark.parametrize("name", HEADS)
def test_without_ffmpeg_a_person_learns_what_it_is(tmp_path, name, no_ffmpeg):
    path = write(tmp_path, name)
    what, demuxer = formats.foreign(path)
    assert demuxer == HEADS[name][1]
    with pytest.raises(AudioError) as caught:
        read(path, RATE)
    assert str(caught.value) == (
        f"{path}: is {what}, which takes ffmpeg to read, and there is none here; install it, or"
        f" convert it: ffmpeg -i {path} {path.with_suffix('.wav')}"
    )


@pytest.mark.parametrize("name", HEADS)
def test_with_ffmpeg_it_is_read(tmp_path, name, substitute):
    path = write(tmp_path, name)
    expected = np.arange(RATE) % 100 * 200 / 2**15
    np.testing.assert_allclose(read(path, RATE), expected, atol=1e-6)
    np.testing.assert_allclose(read(path, RATE, 0.5, 0.25), expected[8000:12_000], atol=1e-6)
    assert file_duration(path, RATE) == 1
    # It is decoded once, by what it is and not by what it may refer to, and without a terminal.
    (asked,) = (substitute / "asked.txt").read_text().splitlines()
    assert f'"-f", "{HEADS[name][1]}", "-i", "file:{path}"' in asked
    assert '"-nostdin"' in asked
    assert '"-protocol_whitelist", "file,pipe"' in asked


def test_what_ffmpeg_cannot_decode_is_refused(tmp_path, substitute, monkeypatch):
    path = write(tmp_path, "a.m4a")
    (substitute / "fails").touch()
    with pytest.raises(AudioError, match=r"a\.m4a: is AAC.*cannot decode it \(Invalid data found"):
        read(path, RATE)
    (substitute / "fails").unlink()
    monkeypatch.setattr(foreign, "MOST_BYTES", 2**20 + 5000)
    with pytest.raises(AudioError, match=r"a\.m4a: is AAC.* of more than an hour; convert it:"):
        read(path, RATE)
    monkeypatch.setattr(foreign, "MOST_SECONDS", 0.001)
    with pytest.raises(AudioError, match=r"a\.m4a: is AAC.*took ffmpeg more than 0\.001 s"):
        read(path, RATE)


def test_what_libsndfile_reads_never_goes_there(tmp_path, substitute):
    for name in ("a.wav", "a.m4a", "a.mp3", "a.flac"):
        kind = {".m4a": "WAV"}.get(Path(name).suffix, name[2:].upper())
        soundfile.write(tmp_path / name, np.zeros(RATE), RATE, format=kind)
        assert len(read(tmp_path / name, RATE)) == RATE
    (tmp_path / "text.mp3").write_text("this is no sound\n" * 300)
    with pytest.raises(AudioError, match=r"text\.mp3: not readable as audio"):
        read(tmp_path / "text.mp3", RATE)
    assert not (substitute / "asked.txt").exists()


def test_a_container_with_a_codec_that_libsndfile_lacks(tmp_path, substitute):
    path = tmp_path / "aac.caf"
    path.write_bytes(b"caff\0\1\0\0desc\0\0\0\0\0\0\0\x20\x40\xe5\x88\x80\0\0\0\0aac ".ljust(5000))
    assert len(read(path, RATE)) == RATE
    (substitute / "fails").touch()
    other = tmp_path / "broken.caf"
    other.write_bytes(path.read_bytes())
    with pytest.raises(AudioError, match=r"broken\.caf: not readable as audio"):
        read(other, RATE)


def test_audio_files_of_a_folder(tmp_path, no_ffmpeg, monkeypatch):
    names = ["a.M4A", "b/c.wma", "b/d.w64", "e.caf", "f.aifc", "g.oga", "._h.wav", "i.txt", "j.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    left_out = {}
    found = clips.audio_files(tmp_path, left_out)
    assert found == ["b/d.w64", "e.caf", "f.aifc", "g.oga", "j.wav"]
    assert left_out.keys() == {"a.M4A", "b/c.wma"}
    assert formats.described(left_out) == (
        "1 .m4a, 1 .wma left out: takes ffmpeg to read, which is not here: install it, or convert"
        " the file"
    )
    monkeypatch.setattr(foreign, "is_there", lambda: True)
    left_out = {}
    found = clips.audio_files(tmp_path, left_out)
    assert found == ["a.M4A", "b/c.wma", "b/d.w64", "e.caf", "f.aifc", "g.oga", "j.wav"]
    assert left_out == {}


@pytest.mark.parametrize("kind", ["caf", "w64", "rf64", "aiff", "au"])
def test_kinds_that_libsndfile_reads(tmp_path, kind):
    path = tmp_path / f"sound.{kind}"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(path, sound, RATE, "PCM_16", format=kind.upper())
    assert path.suffix in formats.EXTENSIONS
    np.testing.assert_allclose(read(path, RATE), sound, rtol=0, atol=2**-15)


@pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg")
@pytest.mark.parametrize("extension", ["m4a", "aac", "wma", "webm", "mka", "wv", "ac3"])
def test_ffmpeg_itself(tmp_path, extension):
    source, path = tmp_path / "-tone.wav", tmp_path / f"-tone it's.{extension}"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * 44_100) / 44_100)
    soundfile.write(source, tone, 44_100)
    command = [FFMPEG, "-nostdin", "-loglevel", "error", "-i", source, path]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"this ffmpeg writes no {extension}")
    waveform = read(path, RATE)
    assert len(waveform) / RATE == pytest.approx(3, abs=0.15)
    middle = np.abs(np.fft.rfft(waveform[RATE : 2 * RATE]))
    assert np.argmax(middle) == 440
    assert np.std(waveform[RATE : 2 * RATE]) == pytest.approx(0.354, abs=0.02)
