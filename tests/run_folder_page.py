"""The files that docs/reference/run_folder.md lists, against those of a run."""

import fnmatch
import re
from pathlib import Path

from tests.documents import ROOT, text_of

PAGE = ROOT / "docs" / "reference" / "run_folder.md"


def listed() -> dict[str, str]:
    """When a path is there, by the path, in which * is anything and STEP a number."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| .*\|$", text_of(PAGE), re.MULTILINE)
    return {path.replace("STEP", "[0-9]*"): there for path, there in rows}


def require_listed(workdir: Path) -> None:
    """Every file of a run is on the page, and what is always there is there."""
    files = [str(file.relative_to(workdir)) for file in workdir.rglob("*") if file.is_file()]
    found = {path: fnmatch.filter(files, path) for path in listed()}
    assert not set(files) - {file for each in found.values() for file in each}
    assert not [path for path, there in listed().items() if there == "always" and not found[path]]
