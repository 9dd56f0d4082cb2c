"""Where the files of a data set may lie: below its folder, when links are followed, too."""

import os
import re
from pathlib import Path

# What stands for a folder in a shell, and nowhere else.
_SHELL = re.compile(r"~[\w.-]*(?:/|$)|\$\{?\w+\}?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def from_home(text: str) -> Path:
    """A path of the command line, in which `~` is the home folder: shells leave it behind `=`."""
    return Path(text).expanduser()


def misread(path: str, full: Path) -> str:
    """Why a path of a table is none of this system, with the way out; '' if nothing is wrong.

    Args:
        path: As the table has it.
        full: What it is here; looked up where the path is odd, for an odd name can be a file's.
    """
    if _ADDRESS.match(path):
        return "is an address, not a file; fetch it, or mount what holds it, and give its path here"
    reason = ""
    if _SHELL.match(path):
        reason = "shells alone know what ~ and $ stand for; write out the folder"
    elif _DRIVE.match(path):
        reason = "a path of Windows; write that of this machine, below the table's folder"
    elif "\\" in path and os.sep != "\\":
        reason = "paths of this table have backslashes, as on Windows; write them with /"
    return f"no such file; {reason}" if reason and not os.path.lexists(full) else ""


class Root:
    """A folder that files must not lead out of.

    Only folders are asked what they hold, each once: a call a file takes minutes on a network disk.

    Attributes:
        path: the folder, links followed.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(os.path.realpath(folder))
        self._begin = os.path.join(self.path, "")  # noqa: PTH118  (with a separator at its end)
        # By folder: whether it is inside, and the names in it that are links.
        self._folders: dict[str, tuple[bool, frozenset[str]]] = {}

    def holds(self, path: Path | str) -> bool:
        """Whether an absolute path without `..` is of something in the folder.

        What is not there leads nowhere, so it is judged by its folder.
        """
        folder, _, name = str(path).rpartition(os.sep)
        if folder not in self._folders:
            where = folder or os.sep
            self._folders[folder] = self._is_inside(where), _links(where)
        inside, links = self._folders[folder]
        return self._is_inside(path) if name in links else inside

    def _is_inside(self, path: Path | str) -> bool:
        real = os.path.join(os.path.realpath(path), "")  # noqa: PTH118
        return real.startswith(self._begin)


def _links(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())
    except OSError:
        return frozenset()
