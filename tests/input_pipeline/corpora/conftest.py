"""Replicas of official layouts: the tables as they are published, and empty files for audio."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from atbert_jax.input_pipeline.corpora import corpus
from tests.conftest import DATA


class Anything:
    """A folder that holds whatever is asked for."""

    def __contains__(self, name: str) -> bool:
        return True


@pytest.fixture
def lay_out(tmp_path) -> Callable[..., Path]:
    """Writes files into a folder."""

    def write(tables: dict[str, str] | None = None, audio: Iterable[str] = ()) -> Path:
        """Returns the folder; `tables` are texts by path, `audio` are paths of empty files."""
        root = tmp_path / "root"
        for path, text in (dict(tables or {}) | dict.fromkeys(audio, "")).items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return root

    return write


@pytest.fixture
def real(monkeypatch) -> Callable[[str], Path]:
    """Finds the official metadata of a corpus; all of its audio seems to be there."""

    def find(name: str) -> Path:
        folder = DATA / "metadata" / name
        if not folder.is_dir():
            pytest.skip(f"no metadata at {folder}: it is not distributed")
        monkeypatch.setattr(corpus, "_names", lambda folder: Anything())
        return folder

    return find
