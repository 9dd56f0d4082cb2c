"""Names from outside are data in every command: never markup, and no name ends one."""

import ast
import os
import subprocess
import sys

import pytest
import soundfile

from atbert_jax import prepare
from atbert_jax.input_pipeline import extract
from tests.noise import RATE, noise
from tests.test_layers import FILES, ROOT

ODD = "live [/disc] 2\x1b[2J.wav"
SHOWN = "live [/disc] 2\\x1b[2J.wav"


def makes_console(module: str) -> bool:
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(call, ast.Name) and call.id == "Console" for call in calls)


@pytest.mark.parametrize("module", sorted(FILES))
def test_nothing_talks_through_a_console_that_reads_markup(module):
    assert not makes_console(module)


@pytest.fixture
def folder(tmp_path):
    """A good file, and one of an odd name that cannot be read."""
    (tmp_path / "live [").mkdir()
    soundfile.write(tmp_path / "good.wav", noise(1.0), RATE)
    (tmp_path / ODD).write_bytes(b"no sound")
    (tmp_path / "t.csv").write_text(f"path,text\ngood.wav,x\n{ODD},y\n", encoding="utf-8")
    return tmp_path


def test_extract_goes_on(folder, capsys):
    arguments = [folder / "t.csv", folder / "[/out]", "--processes", "1", "--n_cqt_chroma", "12"]
    with pytest.raises(SystemExit, match="error: 1 clips could not be read"):
        extract.main(list(map(str, arguments)))
    said = capsys.readouterr().out
    assert f"left out: {SHOWN}" in said
    assert "1 of 2 clips are in" in said
    assert "\x1b" not in said
    assert (folder / "[/out]/manifest.csv").is_file()


def test_prepare_shows_what_it_leaves_out(folder, capsys):
    root = folder / "music"
    (root / "rock [/b]\x1b").mkdir(parents=True)
    (root / "rock [/b]\x1b/a.wav").touch()
    name = os.fsencode(root) + b"/rock [/b]\x1b/caf\xe9\x1b.wav"
    try:
        with open(name, "wb"):  # noqa: PTH123
            pass
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    prepare.main(["folder", "--root", str(root), "--output", str(folder / "out")])
    said = capsys.readouterr().out
    assert "1 records" in said
    assert "rock [/b]\\x1b/caf\\xe9\\x1b.wav" in said
    assert "\x1b" not in said
    assert "caf\\xe9" in (folder / "out/left_out.csv").read_text(encoding="utf-8")


def test_an_error_is_one_line_that_acts_on_nothing(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9\x1b[2J"
    done = subprocess.run(
        [sys.executable, "-m", "atbert_jax", "predict", b"--checkpoint=" + name, "a.wav"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"caf\\xe9\\x1b[2J: no " in done.stderr
    assert done.stderr.count(b"\n") == 1
