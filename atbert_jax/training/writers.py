"""Where measurements go: `metrics.jsonl` and TensorBoard, both in the run's folder."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

METRICS = "metrics.jsonl"


class Writer:
    """Writes scalars, pictures and text of a run.

    Args:
        workdir: The run's folder.
        step: Where the run goes on; rows that were written after it are dropped, and at step 0 all.
        writes: Whether this process is the one that writes.
    """

    def __init__(self, workdir: Path, step: int, *, writes: bool = True) -> None:
        self._writes = writes
        if not writes:
            return
        # clu brings TensorFlow along, which only a run that reads data needs.
        from clu import metric_writers

        path = workdir / METRICS
        rows = [row for row in read_metrics(workdir) if step and row["step"] <= step]
        self._file = path.open("w", encoding="utf-8")
        for row in rows:
            self._write(row)
        self._tensorboard = metric_writers.SummaryWriter(str(workdir / "tensorboard"))

    def _write(self, row: dict) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of `metrics.jsonl`, and one point of each TensorBoard curve."""
        if not self._writes:
            return
        finite = {name: float(value) for name, value in values.items() if value is not None}
        self._write({"step": step, **finite})
        self._tensorboard.write_scalars(step, finite)

    def pictures(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Grey pictures (N, H, W) of any range, scaled to [0, 1]; the first row is the lowest."""
        if not self._writes:
            return
        scaled = {
            name: ((x - x.min()) / max(float(np.ptp(x)), 1e-6))[:, ::-1, :, None]
            for name, x in images.items()
        }
        self._tensorboard.write_images(step, scaled)

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Markdown on TensorBoard's text page."""
        if self._writes:
            self._tensorboard.write_texts(step, dict(texts))

    def close(self) -> None:
        """Writes what is left."""
        if self._writes:
            self._tensorboard.close()
            self._file.close()


def read_metrics(workdir: Path) -> list[dict]:
    """The rows of a run's `metrics.jsonl`; a last line that was cut off is left out."""
    path = workdir / METRICS
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
