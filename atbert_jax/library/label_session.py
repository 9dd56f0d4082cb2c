"""Labelling by listening: what to hear next, what is said of it, and what it comes to.

A terminal and a page drive the same session.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library.active_learning import NO, SKIP, YES, Sampler
from atbert_jax.library.embedding_index import Hit, Index
from atbert_jax.library.label_file import LabelFile, Said


@dataclasses.dataclass(frozen=True)
class Offer:
    """A window to listen to.

    Attributes:
        window: Its number in the index.
        hit: The window, in a file that is there; its score is the head's probability, or NaN.
        end: In seconds of the file, where its sound ends.
        reason: Why this one.
    """

    window: int
    hit: Hit
    end: float
    reason: str

    @property
    def record(self) -> Record:
        """What is to be heard."""
        return dataclasses.replace(self.hit.window, duration=self.end - self.hit.start)


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was said.

    Attributes:
        yes: Windows that are what is sought.
        no: That are not.
        skipped: Of which nothing was said.
        lost: Of `yes` and `no`, those whose files are not in the index, or not as they were, and
            which have no row in the manifest.
        outside: Rows of files outside of the manifest's folder.
    """

    yes: int
    no: int
    skipped: int
    lost: int
    outside: int


class LabelSession:
    """Labels windows of an index; all that was said is on the disk before the next one is heard.

    Args:
        index: That has the recordings.
        file: That takes what is said; it goes on from what is in it.
        query: (D,) to begin with; None where there are examples already.
        where: Value by column of the index: other recordings are not asked about.

    Raises:
        ValueError: if the file, the query or a condition cannot be used.
    """

    def __init__(
        self,
        index: Index,
        file: LabelFile,
        query: np.ndarray | None = None,
        where: Mapping[str, str] | None = None,
    ) -> None:
        self.index, self.file = index, file
        self._said = file.read()
        self.sampler = Sampler(index, query)
        asked = index.where(where or {})
        self._recordings: defaultdict[int, list[int]] = defaultdict(list)
        self._files: defaultdict[str, list[int]] = defaultdict(list)
        for recording, content in enumerate(index.content):
            self._files[index.seen[recording].digest].append(recording)
            if asked[recording]:
                self._recordings[int(content)].append(recording)
        sizes = np.diff(index.windows)
        self._allowed = np.repeat(np.isin(np.arange(len(sizes)), list(self._recordings)), sizes)
        self._paths: dict[str, Path | None] = {}
        self._by_window = {w: said.says for said in self._said for w in self._windows_of(said)}
        if file.answers.is_file():  # the manifest can be from before the last answer, or undo
            self._write()

    def ask(self, query: np.ndarray) -> None:
        """Begins with another query.

        Raises:
            ValueError: if it is none of this index.
        """
        self.sampler = Sampler(self.index, query)

    def offer(self) -> Offer | None:
        """What to hear next; None where everything was said, or no file is left that is there.

        Raises:
            ValueError: if there is neither a query nor an example to begin with.
        """
        while proposal := self.sampler.propose(self._by_window, self._allowed):
            content = self.index.content_of(proposal.window)
            recording = self._there(self._recordings[content])
            if recording is not None:
                score = np.nan if proposal.probability is None else proposal.probability
                hit = self.index.hit(proposal.window, recording, score)
                return Offer(proposal.window, hit, self._end(proposal.window), proposal.reason)
            begin, end = self.index.windows[content : content + 2]
            self._allowed[begin:end] = False  # its file is gone, and nobody can hear it
        return None

    def say(self, window: int, says: str) -> None:
        """Keeps what is said of a window.

        Args:
            window: Its number in the index.
            says: 'yes', 'no' or 'skip'.

        Raises:
            ValueError: if there is no such window, it has an answer, or `says` is none.
            OSError: if it cannot be written; nothing is kept then.
        """
        if not 0 <= window < len(self.index) or window in self._by_window:
            raise ValueError(f"window {window} is not one that waits for an answer")
        said = Said(self._digest(window), float(self.index.starts[window]), self._end(window), says)
        self._said.append(said)
        try:
            self._write()
        except BaseException:
            self._said.pop()
            raise
        self._by_window |= dict.fromkeys(self._windows_of(said), says)

    def undo(self) -> bool:
        """Takes the last answer back, which is asked for again; whether there was one."""
        if not self._said:
            return False
        said = self._said.pop()
        try:
            self._write()
        except BaseException:
            self._said.append(said)
            raise
        for window in self._windows_of(said):
            self._by_window.pop(window, None)
        return True

    @property
    def counts(self) -> Counts:
        """What was said until now."""
        number = Counter(said.says for said in self._said)
        paths = [self._path_of(said.digest) for said in self._said if said.says != SKIP]
        outside = sum(p is not None and Path(self.file.name_of(p)).is_absolute() for p in paths)
        return Counts(number[YES], number[NO], number[SKIP], paths.count(None), outside)

    def found(self) -> int | None:
        """How many windows that were not heard the head takes for what is sought, if there is one.

        The head is that of the answers until now; its probability is above a half.
        """
        logits = self.sampler.logits(self._by_window)
        if logits is None:
            return None
        positive = (logits > 0) & self._allowed & ~self.index.is_nowhere
        positive[list(self._by_window)] = False
        return int(positive.sum())

    def _write(self) -> None:
        self.file.write(self._said, self._path_of)

    def _there(self, recordings: list[int]) -> int | None:
        """The first one whose file is as it was heard, and can be named in a manifest."""
        for recording in recordings:
            can_be_named = self.file.can_name(self.index.records[recording].path)
            if can_be_named and self.index.seen[recording].is_there():
                return recording
        return None

    def _path_of(self, digest: str) -> Path | None:
        if digest not in self._paths:
            recording = self._there(self._files.get(digest, []))
            path = None if recording is None else self.index.records[recording].path
            self._paths[digest] = path
        return self._paths[digest]

    def _digest(self, window: int) -> str:
        return self.index.seen[self._first(window)].digest

    def _first(self, window: int) -> int:
        return int((self.index.content == self.index.content_of(window)).argmax())

    def _end(self, window: int) -> float:
        """Where the sound of a window ends: what is behind the recording's end is padding."""
        content, first = self.index.content_of(window), self._first(window)
        start, seconds = float(self.index.starts[window]), float(self.index.seconds[content])
        length = seconds if self.index.made.seconds is None else self.index.made.seconds
        end = self.index.records[first].start + seconds
        return round(min(start + length, end) if end > start else start + length, 6)

    def _windows_of(self, said: Said) -> list[int]:
        """The windows of the index that are of this stretch; none where it was made another way."""
        found = []
        for content in {int(self.index.content[r]) for r in self._files.get(said.digest, [])}:
            begin, end = self.index.windows[content : content + 2]
            starts = self.index.starts[begin:end]
            same = begin + np.flatnonzero(np.abs(starts - said.start) < 1e-6)
            found += [int(w) for w in same if abs(self._end(int(w)) - said.end) < 1e-3]
        return found
