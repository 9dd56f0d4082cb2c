"""What a browser has sent: taken where the server put it, and if it is short enough."""

import dataclasses
from pathlib import Path

from atbert_jax.input_pipeline.audio.decoding import file_duration


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of an upload.

    Attributes:
        megabytes: Of the file.
        seconds: Of its sound.
    """

    megabytes: float
    seconds: float

    @property
    def bytes(self) -> int:
        """Of the file."""
        return int(self.megabytes * 2**20)


def accept(given: str | None, folder: Path, limits: Limits) -> Path | None:
    """An uploaded file, once it is known to be one.

    Args:
        given: Where the server has put it, as a request says; None where nothing was sent.
        folder: The only one that uploads are put into.
        limits: That it must keep.

    Raises:
        ValueError: if it lies elsewhere, is no sound, or is too large or too long; the message has
            no name of a folder.
    """
    if not given:
        return None
    path, root = Path(given).resolve(), folder.resolve()
    # Asked before anything is opened, links followed.
    if not path.is_relative_to(root) or not path.is_file():
        raise ValueError("this is no file that was uploaded here; choose one again")
    if (size := path.stat().st_size) > limits.bytes:
        raise ValueError(
            f"{path.name}: has {size / 2**20:.0f} MB; up to {limits.megabytes:g} are taken"
        )
    if path.suffix.lower() == ".npy":
        raise ValueError(f"{path.name}: send a file of sound, as .wav, .flac, .mp3 or .ogg")
    seconds = file_duration(path, 1, exact=False)
    if seconds > limits.seconds:
        raise ValueError(
            f"{path.name}: is {seconds:.0f} s long; up to {limits.seconds:g} s are taken"
        )
    return path
