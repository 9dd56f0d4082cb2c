"""`index`, `search` and `duplicates`, as people type them."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

import atbert_jax
from atbert_jax.library import vector_shards
from tests import commands, tones
from tests.music_library import make_run

RATE = tones.TONE_RATE
ODD = 'live [x] "b", <i> #1?%41\x1b.wav'


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("paired"), correct_pair=1.0, alignment=1.0)


@pytest.fixture(scope="module")
def library(run, tmp_path_factory) -> Path:
    """Indexed by the command, of a manifest: five files, one of them a copy, and a bad one."""
    folder, rng = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    rows = ["path,genre,text"]
    for number, name in enumerate(("a.wav", "b.wav", "c.wav", ODD)):
        sound = rng.uniform(-0.5, 0.5, round((0.5 + number / 2) * RATE))
        soundfile.write(folder / name, sound, RATE)
        rows.append('"{}",{},words'.format(name.replace('"', '""'), ("jazz", "rock")[number % 2]))
    shutil.copy(folder / "b.wav", folder / "copy.wav")
    (folder / "bad.wav").write_bytes(b"no sound")
    rows += ["copy.wav,rock,", "bad.wav,rock,"]
    (folder / "tracks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = [folder / "tracks.csv", f"--checkpoint={run}", f"--output={folder / 'lib'}"]
    result = commands.run("atbert_jax.index", *arguments)
    assert commands.one_line(result).startswith("error: 1 files are left out; ")
    assert "4 recordings embedded (10 windows), 0 unchanged, 1 found again" in result.stdout
    assert "indexing: 6/6 files" in result.stdout
    return folder / "lib"


def answers(library: Path, *arguments: str) -> list[dict]:
    result = commands.run("atbert_jax.search", library, *arguments, "--json")
    assert not result.returncode, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_text_is_answered_as_in_python(library, run):
    found = answers(library, "a low tone", "--top=3", "--where=genre=rock")
    assert {Path(row["path"]).name for row in found} == {"b.wav", "copy.wav", ODD}
    model, index = atbert_jax.load(run), atbert_jax.Index(library)
    hits = index.search(model.embed_text("a low tone"), 3, where={"genre": "rock"})
    for row, hit in zip(found, hits, strict=True):
        assert row["path"] == str(hit.record.path)
        assert (row["start"], row["duration"]) == (hit.start, 0.5)
        # The command compiles with fewer optimizations here.
        assert row["score"] == pytest.approx(hit.score, abs=1e-5)
        assert row["columns"]["genre"] == "rock"


def test_a_clip_is_found_by_itself_on_a_page_that_plays_it(library, tmp_path):
    clip, page = library.parent / "a.wav", tmp_path / "pages" / "answers.html"
    result = commands.run("atbert_jax.search", library, "--like", clip, "--html", page)
    assert not result.returncode, result.stderr
    assert re.search(r"a\.wav +│ +0\.0000 │ 1\.0000", result.stdout)
    assert "\x1b" not in result.stdout
    html = page.read_text(encoding="utf-8")
    assert "<i>" not in html
    sources = re.findall(r'<audio controls preload="none" src="([^"]*)">', html)
    assert len(sources) == 5
    assert all((page.parent / unquote(s.partition("#")[0])).is_file() for s in sources)
    assert sources[0].endswith("/a.wav#t=0.000,0.500")


def test_files_that_are_gone_are_said(library, run, tmp_path):
    clips = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for clip in clips:
        shutil.copy(library.parent / clip.name, clip)
    commands.run("atbert_jax.index", tmp_path, f"--checkpoint={run}", f"--output={tmp_path / 'l'}")
    clips[1].unlink()
    result = commands.run("atbert_jax.search", tmp_path / "l", f"--like={clips[0]}", "--json")
    assert len(result.stdout.splitlines()) == 2
    assert "1 of these 2 are of files that are gone or have changed since" in result.stderr
    assert f"as {clips[1]}; run `atbert index` again" in result.stderr


def test_what_is_not_wanted_is_taken_out(library, run):
    model = atbert_jax.load(run)
    query = model.query(like=library.parent / "a.wav", without="a high tone")
    assert query @ model.embed_text("a high tone")[0] == pytest.approx(0, abs=1e-6)


def test_duplicates_are_shown(library):
    result = commands.run("atbert_jax.duplicates", library, "--threshold=2", "--json")
    (group,) = map(json.loads, result.stdout.splitlines())
    names = [Path(row["path"]).name for row in group["recordings"]]
    assert names == ["b.wav", "copy.wav"]
    assert all(row["copy"] and row["seconds"] == 1 for row in group["recordings"])
    shown = commands.run("atbert_jax.duplicates", library, "--threshold=2").stdout
    assert "1 groups of duplicates" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to search for; give a text"),
        (("low", "--where=genre"), "--where=genre; give column=value"),
        (("low", "--where=gerne=rock"), "did you mean 'genre'"),
        (("low", "--where=genre=polka"), "no recording has genre=polka"),
        (("?!",), "reads no word in"),
        (("--like=nowhere.wav",), "nowhere.wav"),
    ],
)
def test_what_cannot_be_found_is_said(library, arguments, said):
    assert said in commands.one_line(commands.run("atbert_jax.search", library, *arguments))


def test_texts_are_not_asked_of_a_model_that_reads_none(tmp_path, library):
    model = atbert_jax.load(make_run(tmp_path, classification=1.0))
    with pytest.raises(ValueError, match="without 'alignment'"):
        model.query("low")
    with pytest.raises(ValueError, match="without 'alignment'"):
        model.query(like=library.parent / "a.wav", without="low")
    assert model.query(like=library.parent / "a.wav").shape == (16,)
    with pytest.raises(ValueError, match="nothing to search for"):
        model.query()


@pytest.mark.slow
def test_a_killed_index_goes_on(run, tmp_path):
    """Killed by the kernel between two shards, and once more wherever it is."""
    music, rng = tmp_path / "music", np.random.default_rng(1)
    music.mkdir()
    for number in range(40):
        soundfile.write(music / f"{number:02d}.wav", rng.uniform(-0.5, 0.5, 110 * RATE), RATE)
    arguments = ["atbert_jax.index", str(music), f"--checkpoint={run}"]
    said = [tmp_path / "said", tmp_path / "errors"]
    process = commands.start([*arguments, f"--output={tmp_path / 'lib'}"], *said)
    while process.is_alive() and not vector_shards.paths(tmp_path / "lib"):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = vector_shards.read_heard(vector_shards.paths(tmp_path / "lib")[0])
    result = commands.run(*arguments, f"--output={tmp_path / 'lib'}")
    assert not result.returncode, result.stderr
    assert f"{40 - len(kept)} recordings embedded" in result.stdout
    assert f"{len(kept)} unchanged" in result.stdout
    commands.run(*arguments, f"--output={tmp_path / 'whole'}")
    one, other = (atbert_jax.Index(tmp_path / name) for name in ("lib", "whole"))
    assert [r.path for r in one.records] == [r.path for r in other.records]
    np.testing.assert_array_equal(one.recordings()[one.content], other.recordings()[other.content])
