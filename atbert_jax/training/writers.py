"""Where measurements go: `metrics.jsonl` and TensorBoard in the run's folder, and a tracker."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.training.checkpoint import CheckpointError
from atbert_jax.training.trackers import Guarded

METRICS = "metrics.jsonl"


class Writer:
    """Writes scalars, pictures and text of a run.

    Args:
        workdir: The run's folder.
        step: Where the run goes on; rows that were written after it are dropped, and at step 0 all.
        writes: Whether this process is the one that writes.
        tracker: Gets the scalars, too.
    """

    def __init__(
        self, workdir: Path, step: int, *, writes: bool = True, tracker: Guarded | None = None
    ) -> None:
        self._writes, self._tracker = writes, tracker
        if not writes:
            return
        # Only a run that reads data needs TensorFlow.
        import tensorflow as tf

        path = workdir / METRICS
        rows = [row for row in read_metrics(workdir) if step and row["step"] <= step]
        whole_file.write(path, "".join(map(_line, rows)))
        self._file = path.open("a", encoding="utf-8")
        self._summary = tf.summary
        self._tensorboard = tf.summary.create_file_writer(str(workdir / "tensorboard"))

    def _write(self, row: dict) -> None:
        self._file.write(_line(row))
        self._file.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of `metrics.jsonl`, and one point of each TensorBoard curve."""
        if not self._writes:
            return
        finite = {name: float(value) for name, value in values.items() if value is not None}
        self._write({"step": step, **finite})
        with self._tensorboard.as_default(step):
            for name, value in finite.items():
                self._summary.scalar(name, value)
        if self._tracker:
            self._tracker.scalars(step, finite)

    def pictures(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Grey pictures (N, H, W) of any range, scaled to [0, 1]; the first row is the lowest."""
        if not self._writes:
            return
        with self._tensorboard.as_default(step):
            for name, x in images.items():
                scaled = (x - x.min()) / max(float(np.ptp(x)), 1e-6)
                self._summary.image(name, scaled[:, ::-1, :, None], max_outputs=len(x))

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Markdown on TensorBoard's text page."""
        if not self._writes:
            return
        with self._tensorboard.as_default(step):
            for name, text in texts.items():
                self._summary.text(name, text)

    def conclude(self, step: int, values: Mapping[str, float | None]) -> None:
        """The best metrics of a run that is done, for the tracker; its folder has them already."""
        if self._tracker:
            found = {f"best/{name}": float(x) for name, x in values.items() if x is not None}
            self._tracker.scalars(step, found)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            going_on = issubclass(kind, SystemExit | KeyboardInterrupt)
            self.close("stopped" if going_on else "failed")

    def close(self, state: str = "finished") -> None:
        """Writes what is left; `state` is of the run, as a `Tracker` has it."""
        if self._writes:
            self._tensorboard.close()
            self._file.close()
        if self._tracker:
            self._tracker.finish(state)


def _line(row: dict) -> str:
    return json.dumps(row) + "\n"


def read_metrics(workdir: Path) -> list[dict]:
    """The rows of a run's `metrics.jsonl`; a last line that was cut off is left out.

    Raises:
        CheckpointError: if another line is damaged.
    """
    path = workdir / METRICS
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [_row(line, path, number) for number, line in enumerate(lines[:-1], start=1)]


def _row(line: bytes, path: Path, number: int) -> dict:
    """One line as a row of numbers, with a step."""
    remedy = "copy the file again, or delete this line"
    try:
        row = whole_file.parse_json(line, f"{path}, line {number}", remedy)
    except whole_file.DamagedFileError as error:
        raise CheckpointError(str(error)) from error
    for name, value in ({"step": None} | row).items():
        kind = int if name == "step" else int | float
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CheckpointError(f"{path}, line {number}: {name!r} is {value!r:.40}; {remedy}")
    return row
