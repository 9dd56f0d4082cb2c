"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("atbert_jax", "configs", "input_pipeline", "tests")
BLOCK = re.compile(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def recipe(heading: str) -> list[tuple[str, str, str]]:
    """Language, file and text of each block below a heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return BLOCK.findall(text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])


def add_lines(file: Path, diff: str) -> None:
    """Adds each line with a '+' behind the one before it, which must stand once in the file."""
    lines, place = file.read_text(encoding="utf-8").split("\n"), None
    for line in diff.splitlines():
        sign, content = line[:1], line[1:]
        if sign == "+":
            lines.insert(place, content)
            place += 1
        elif sign != "@":  # between two places of a file
            assert lines.count(content) == 1, f"{file.name}: {content!r}"
            place = lines.index(content) + 1
    file.write_text("\n".join(lines), encoding="utf-8")


def follow(heading: str, copy: Path) -> tuple[list[str], int]:
    """Does what a recipe says; returns the files it writes and how many lines it adds."""
    written, added = [], 0
    for language, name, text in recipe(heading):
        if language == "python":
            assert not (copy / name).exists()
            (copy / name).write_text(text, encoding="utf-8")
            written.append(name)
        else:
            add_lines(copy / name, text)
            added += text.count("\n+")
    return written, added


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with its tests, without what they only compare with."""
    ignored = shutil.ignore_patterns("__pycache__", "golden")
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "lines"), [("A tagger", 3), ("An objective", 2), ("A corpus", 1)]
)
def test_a_recipe_works(heading, lines, copy):
    written, added = follow(heading, copy)
    tests = [name for name in written if name.startswith("tests/")]
    assert (len(written), len(tests), added) == (2, 1, lines)
    # Its own tests, and of those of the layers what is about the new module.
    files, only = ["tests/test_layers.py", *tests], Path(written[0]).stem
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", only, *files],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.returncode, result.stdout + result.stderr
    assert "skipped" not in result.stdout


@pytest.mark.parametrize("heading", ["A tagger", "An objective", "A corpus"])
def test_a_recipe_is_written_as_the_rest(heading, copy):
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if not ruff:
        pytest.skip("ruff is not installed")
    written, _ = follow(heading, copy)
    changed = [*written, *(name for language, name, _ in recipe(heading) if language == "diff")]
    for command in (["check"], ["format", "--check", "--diff"]):
        result = subprocess.run(
            [ruff, *command, "--no-cache", *changed], cwd=copy, capture_output=True, text=True
        )
        assert not result.returncode, result.stdout + result.stderr
