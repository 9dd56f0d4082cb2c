"""What a listener said of windows: a manifest, and beside it all that was said, to go on from.

Both are written anew after each answer, whole or not at all. An answer is of sound, not of a file's
name: it goes by the digest of what was heard, and holds for the file wherever it is.
"""

import contextlib
import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import is_text, tidy
from atbert_jax.library.active_learning import NO, SKIP, YES
from atbert_jax.training import lock

COLUMNS = ("id", "path", "start", "end", "label", "group")
# Of the file with all that was said, behind the manifest's name.
ENDING = ".answers.json"
# Before the name of what is sought, for what is something else.
NOT = "not "


@dataclasses.dataclass(frozen=True)
class Said:
    """What was said of a stretch of sound.

    Attributes:
        digest: Of the file's bytes.
        start: In seconds of the file.
        end: In seconds of the file.
        says: 'yes', 'no' or 'skip'.
    """

    digest: str
    start: float
    end: float
    says: str

    def __post_init__(self) -> None:
        times = (self.start, self.end)
        if not all(isinstance(t, float | int) and math.isfinite(t) and t >= 0 for t in times):
            raise ValueError(f"from {self.start!r} to {self.end!r} is no stretch of a file")
        if self.says not in (YES, NO, SKIP) or not isinstance(self.digest, str):
            raise ValueError(f"{self.says!r} of {self.digest!r} is no answer")

    @property
    def key(self) -> tuple[str, float, float]:
        """Of the stretch."""
        return self.digest, self.start, self.end


class LabelFile:
    """A manifest of what was said, and the file beside it.

    Args:
        manifest: A `.csv`.
        label: The name of what is sought; that of the manifest where it is empty.

    Raises:
        ValueError: if the manifest is no `.csv`, or the label cannot stand in one.
    """

    def __init__(self, manifest: Path, label: str = "") -> None:
        if manifest.suffix != ".csv":
            raise ValueError(f"{manifest}: name a file with the extension .csv")
        self.manifest = manifest
        self.answers = manifest.with_name(manifest.name + ENDING)
        self.label = tidy(label or manifest.stem)
        if not self.label or set(self.label) & set("|[](){}") or not is_text(self.label):
            raise ValueError(
                f"label {self.label!a} cannot stand in a manifest, where | and brackets are of"
                " lists; give another with --label"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from labelling into the same file.

        Raises:
            CheckpointError: if another one does.
        """
        name = f".{self.manifest.name}.lock"
        with lock.held(self.manifest.parent, doing="labelled", flag="--output", name=name):
            yield

    def read(self) -> list[Said]:
        """All that was said, in its order; nothing yet where there is no file.

        Raises:
            ValueError: if the manifest is another's, or the file is damaged or of another label.
        """
        if not self.answers.is_file():
            if self.manifest.exists():
                raise ValueError(
                    f"{self.manifest}: is there already, and no labels of `atbert label`; name"
                    " another file"
                )
            return []
        remedy = f"remove it and {self.manifest.name} to begin anew"
        values = whole_file.read_json(self.answers, remedy)
        try:
            found = [Said(**each) for each in values["said"]]
            label = values["label"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.answers}: holds no answers ({error}); {remedy}") from error
        if label != self.label:
            raise ValueError(
                f"{self.answers}: is of {label!r}, not {self.label!r}; name another file, or give"
                f" --label={label}"
            )
        return found

    def write(self, said: Sequence[Said], path_of: Callable[[str], Path | None]) -> None:
        """Writes both files.

        Args:
            said: All of it.
            path_of: The file with a digest; None where it is not known, and no row can be of it.
        """
        values = {"label": self.label, "said": [dataclasses.asdict(each) for each in said]}
        whole_file.write_json(self.answers, values)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        names = {YES: self.label, NO: NOT + self.label}
        for each in said:
            path = path_of(each.digest)
            if each.says != SKIP and path is not None:
                name, span = self.name_of(path), f"{each.start:.12g}-{each.end:.12g}"
                times = (f"{each.start:.12g}", f"{each.end:.12g}")
                # Windows of one file are no strangers, and never go to different splits.
                writer.writerow([f"{name}@{span}", name, *times, names[each.says], name])
        whole_file.write(self.manifest, text.getvalue())

    def name_of(self, path: Path) -> str:
        """A file as the manifest names it: from its own folder on, or by its absolute path."""
        folder = self.manifest.parent
        for base in (folder.absolute(), Path(os.path.realpath(folder))):
            if path.is_relative_to(base):
                return str(path.relative_to(base))
        return str(path)

    def can_name(self, path: Path) -> bool:
        """Whether a table of text can name a file: no bytes that are no text, no outer spaces."""
        name = self.name_of(path)
        return name == name.strip() and not set(name) & set("\r\n") and is_text(name)
