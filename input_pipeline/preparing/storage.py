"""Where workers read and write: in the folders of the command, or in a bucket it has mounted."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Storage:
    """Files by the names that the command knows them by.

    A worker on another machine may not have mounted the bucket that they are in; it copies them,
    one at a time, from there and to there.

    Attributes:
        folder: Where the command has mounted a bucket; empty: workers see what it sees.
        url: Of the bucket or of a folder in it, as Beam knows it (`gs://...`, `s3://...`).
    """

    folder: str = ""
    url: str = ""

    @classmethod
    def of(cls, mount: str | None) -> "Storage":
        """What `/mnt/data=gs://data` says.

        Raises:
            ValueError: if it is not of this form.
        """
        folder, _, url = (mount or "").partition("=")
        if mount and not (os.path.isabs(folder) and url):  # noqa: PTH117  (of a text)
            raise ValueError(f"--mount={mount}; use the form /mounted/folder=gs://bucket")
        return cls(folder.rstrip("/"), url.rstrip("/"))

    def _url(self, path: Path) -> str:
        """Where a file is for workers; empty where they see it by its path."""
        if not self.folder or not path.is_relative_to(self.folder):
            return ""
        return f"{self.url}/{path.relative_to(self.folder).as_posix()}"

    @contextlib.contextmanager
    def fetched(self, path: Path) -> Iterator[Path]:
        """A file that can be read as long as the block runs.

        Raises:
            FileNotFoundError: if it is not there.
        """
        url = self._url(path)
        if not url:
            yield path
            return
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        if not FileSystems.exists(url):
            raise FileNotFoundError(url)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            kind = CompressionTypes.UNCOMPRESSED
            with FileSystems.open(url, compression_type=kind) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield copy

    @contextlib.contextmanager
    def created(self, path: Path) -> Iterator[Path]:
        """A file to write, that gets its name, whole, when the block ends without an error."""
        url = self._url(path)
        if not url:
            # One that is killed leaves its part behind, which nobody reads; the number keeps two
            # that write the same file from mixing their bytes.
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                yield part
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            return
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / path.name
            yield part
            kind = CompressionTypes.UNCOMPRESSED
            with (
                part.open("rb") as source,
                FileSystems.create(url, compression_type=kind) as target,
            ):
                shutil.copyfileobj(source, target)
