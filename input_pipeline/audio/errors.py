"""What audio that cannot be read is told with."""

import shlex
from pathlib import Path


class AudioError(ValueError):
    """A file that cannot be read as audio; the message names the file and the reason."""


def mend(path: Path, to: str = ".wav") -> str:
    """The command that makes a whole file of one that is damaged or foreign, as advice."""
    made = path.with_name(f"{path.stem}-whole{to}") if path.suffix == to else path.with_suffix(to)
    return f"convert it: ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(made))}"
