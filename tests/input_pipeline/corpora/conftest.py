"""Replicas of official layouts: the tables as they are published, and empty files for audio."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


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
