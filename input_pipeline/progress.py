"""What is said on the way: lines as they are, and progress with a rate and the time that is left.

Progress is a bar on a terminal, and lines elsewhere.
"""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.rule import Rule
from rich.text import Text

from atbert_jax.input_pipeline.text.visible import visible

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


class Terminal(Console):
    """A console that takes no name for markup: what a text holds is shown, and nothing in it acts.

    Lines are not broken where they are not shown on a terminal, so that what reads them finds whole
    paths and names.

    Args:
        options: As of rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints, with characters that cannot be seen escaped."""
        texts = [visible(each) if isinstance(each, str) else each for each in objects]
        if not self.is_terminal and all(isinstance(each, str) for each in objects):
            options.setdefault("soft_wrap", True)
        super().print(*texts, **options)

    def rule(self, title: str = "", **options: Any) -> None:
        """As rich draws a line with a title; `options` are those of its `Rule`."""
        self.print(Rule(Text(visible(title)), **options))


class Meter:
    """Counts towards a total and shows how far it is.

    Args:
        description: What is done.
        total: How many there are.
        unit: What is counted, as in 'steps'.
        done: How many were done before.
        console: Where to show it; standard output by default.
    """

    def __init__(
        self,
        description: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        console: Console | None = None,
    ) -> None:
        self.description, self.total, self.unit = visible(description), total, unit
        self.console = console or Terminal()
        self._first = self._done = done
        self._began = self._shown = time.monotonic()
        self._note = ""
        self._bar = None
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self.console,
            )
            self._task = self._bar.add_task(
                self.description, total=total, completed=done, rate="", note=""
            )

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._line()

    def _rate(self) -> float:
        return (self._done - self._first) / max(time.monotonic() - self._began, 1e-6)

    def _speed(self, unit: str) -> str:
        rate = self._rate()
        # What takes long is better said the other way round.
        return f"{1 / rate:.0f} s each" if 0 < rate < 0.1 else f"{rate:.2f}{unit}/s"

    def advance(self, count: int = 1, note: str = "") -> None:
        """Counts, and shows a note (the latest loss, say) beside the bar."""
        self._done += count
        self._note = visible(note) or self._note
        if self._bar:
            rate = self._speed(f" {self.unit}")
            self._bar.update(self._task, completed=self._done, rate=rate, note=self._note)
        elif time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self._shown = time.monotonic()
        left = (self.total - self._done) / self._rate() if self._rate() else 0
        self.console.print(
            f"{self.description}: {self._done}/{self.total} {self.unit}, {self._speed('')},"
            f" {int(left // 60)}:{int(left % 60):02d} left  {self._note}".rstrip(),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def track(
    items: Iterable[T], description: str, total: int, unit: str, *, console: Console | None = None
) -> Iterator[T]:
    """Goes through `items` and shows how far it is."""
    with Meter(description, total, unit, console=console) as meter:
        for item in items:
            yield item
            meter.advance()
