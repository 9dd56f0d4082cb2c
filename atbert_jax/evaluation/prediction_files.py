"""What a model says of every record of a split, as `predictions.csv` and `predictions.parquet`.

An answer is that of `predict`: by all that the record has and the model knows, its chunks put
together. One row is one record that could be read, in the order of the manifest.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.metrics.aggregation import aggregate
from atbert_jax.metrics.scores import THRESHOLD
from atbert_jax.objectives.classification import Classification
from atbert_jax.reporting.report import Section
from atbert_jax.reporting.tables import Sound, Table
from atbert_jax.training.trained import Trained
from atbert_jax.training.validation import Outputs

FILE, CHUNK_FILE = "predictions", "chunk_predictions"
# Of labels in one cell, as manifests have them.
SEPARATOR = "|"
# Rows of the table of mistakes.
MOST_MISTAKES = 10

Columns = dict[str, Sequence]


@dataclasses.dataclass(frozen=True)
class Told:
    """What a model says of R records for one task of C labels or targets.

    Attributes:
        labels: Of the task.
        records: (R,) their numbers in the split, ascending.
        scores: (R, C), probabilities, or targets in their own units.
        truth: (R, C), likewise; NaN where the record has none, or lacks one of several targets.
        limits: (R, C), from which on tags were chosen on validation data; None where none were.
        chunks: (K, C) scores of all chunks.
        chunk_records: (K,) the number of the record that each is of.
    """

    labels: Labels
    records: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    limits: np.ndarray | None
    chunks: np.ndarray
    chunk_records: np.ndarray

    def decided(self, scores: np.ndarray, limits: np.ndarray | float = THRESHOLD) -> list:
        """(R,) what scores (R, C) are read as: a name, or a list of those from the limits on.

        None where they are NaN.
        """
        names = self.labels.names
        known = np.isfinite(scores).all(axis=1)
        if self.labels.task == "single_label":
            best = np.where(known[:, None], scores, 0).argmax(axis=1)
            return [names[c] if k else None for c, k in zip(best, known, strict=True)]
        chosen = scores >= limits
        return [
            [names[c] for c in np.flatnonzero(row)] if k else None
            for row, k in zip(chosen, known, strict=True)
        ]

    def columns(self) -> Columns:
        """`truth`, `prediction` and `probability/NAME`; of numbers `truth/NAME` and the like.

        Tags are decided twice where thresholds were chosen: from 0.5 on, and `prediction_tuned`.
        The names of several tasks stand before those of their columns.
        """
        before = f"{self.labels.name}/" if self.labels.name else ""
        if self.labels.task == "regression":
            parts = {"truth": self.truth, "prediction": self.scores}
            found = {
                f"{part}/{name}": values[:, c]
                for part, values in parts.items()
                for c, name in enumerate(self.labels.names)
            }
        else:
            found = {"truth": self.decided(self.truth), "prediction": self.decided(self.scores)}
            if self.limits is not None:
                found["prediction_tuned"] = self.decided(self.scores, self.limits)
            found |= self.by_label(self.scores)
        return {before + name: column for name, column in found.items()}

    def by_label(self, scores: np.ndarray) -> Columns:
        """Columns `probability/NAME`, or `prediction/NAME`, of scores (N, C)."""
        what = "prediction" if self.labels.task == "regression" else "probability"
        return {f"{what}/{name}": scores[:, c] for c, name in enumerate(self.labels.names)}

    def mistakes(
        self, records: Sequence[Record], listen: Callable[[Record], Sound]
    ) -> Table | None:
        """The records that the model is most wrong about, to be listened to, the worst first.

        Wrong is the label that was taken for another with the highest probability, the tag whose
        probability is farthest from the truth, and the number that is farthest from it, measured
        in deviations of the training split.

        Args:
            records: Of the split.
            listen: Gives what is played of a record.

        Returns:
            None where nothing is wrong.
        """
        is_number = self.labels.task == "regression"
        distance = np.abs(self.scores - self.truth)
        if self.labels.task == "single_label":
            best, right = self.scores.argmax(axis=1), self.truth.argmax(axis=1)
            is_wrong = np.arange(len(self.labels.names)) == best[:, None]
            distance = np.where(is_wrong & (best != right)[:, None], self.scores, np.nan)
        elif is_number:
            distance = distance / np.array(self.labels.std)
        else:
            distance = np.where((self.scores >= THRESHOLD) != (self.truth > 0.5), distance, np.nan)
        distance = np.where(np.isfinite(distance) & np.isfinite(self.truth), distance, 0)
        worst, column = distance.max(axis=1), distance.argmax(axis=1)
        order = np.argsort(-worst, kind="stable")[:MOST_MISTAKES]
        rows = []
        for row in order[worst[order] > 0]:
            record, c = records[self.records[row]], column[row]
            said, truth = self.scores[row, c], self.truth[row, c]
            about = [listen(record), record.id, self.labels.names[c]]
            if self.labels.task == "single_label":
                about[2:] = [self.labels.names[self.truth[row].argmax()], about[2], said]
            else:
                about += [truth if is_number else bool(truth > 0.5), said]
            rows.append(about)
        columns = {
            "single_label": ["truth", "taken for", "probability"],
            "multi_label": ["tag", "truth", "probability"],
            "regression": ["target", "truth", "prediction"],
        }[self.labels.task]
        what = "Largest errors" if is_number else "Most confident mistakes"
        title = f"{what}: {self.labels.name}" if self.labels.name else what
        return Table(title, ["listen", "id", *columns], rows) if rows else None


def measure(
    folder: Path,
    model: Trained,
    split: Split,
    outputs: Mapping[str, Outputs],
    chosen: Mapping[str, Mapping],
    listen: Callable[[Record], Sound],
    *,
    with_chunks: bool = False,
) -> Section:
    """Writes what a model says of the records of a split, and shows what it is most wrong about.

    Args:
        folder: Of the report.
        model: That answered.
        split: Its records.
        outputs: Of `validation.answers`, by objective.
        chosen: Of `validation.choose`.
        listen: Gives what a page plays of a record.
        with_chunks: See `write`.

    Returns:
        Tables of mistakes; nothing of a model that tells neither labels nor numbers.
    """
    told = tell(model, split, outputs, chosen)
    if told:
        write(folder, model, split.records, told, with_chunks=with_chunks)
    tables = [each.mistakes(split.records, listen) for each in told]
    return Section({}, [table for table in tables if table])


def tell(
    model: Trained,
    split: Split,
    outputs: Mapping[str, Outputs],
    chosen: Mapping[str, Mapping],
) -> list[Told]:
    """What a model says of the records of a split, for each of its tasks.

    Args:
        model: That answered.
        split: Its records.
        outputs: Of `validation.answers`, by objective.
        chosen: Of `validation.choose`.
    """
    predictor = Predictor(model)
    has_text = split.token_mask.any(axis=1)
    objectives = model.learner.objectives
    return [
        _told(model, predictor, objectives[name], outputs[name], split.records, has_text, limits)
        for name in model.contract.by_objective
        for limits in [chosen.get(name, {}).get("thresholds", {})]
        if isinstance(objectives.get(name), Classification) and len(outputs[name]["record"])
    ]


def _told(
    model: Trained,
    predictor: Predictor,
    objective: Classification,
    outputs: Outputs,
    records: Sequence[Record],
    has_text: np.ndarray,
    thresholds: Mapping[str, Mapping[str, float]],
) -> Told:
    """What one objective says of the records; `has_text` (N,) is of all of the split."""
    labels, chunk_records = objective.labels, outputs["record"]
    numbers = np.unique(chunk_records)
    given = [predictor.given(records[n], has_text=bool(has_text[n])) for n in numbers]
    views = np.array([objective.view(each) or objective.views[0] for each in given])
    chunks = np.stack([outputs[view] for view in objective.views])
    place = [objective.views.index(view) for view in views]
    of_chunk = np.array(place)[np.searchsorted(numbers, chunk_records)]
    chunks = chunks[of_chunk, np.arange(len(chunk_records))].astype(np.float64)
    _, scores = aggregate(chunks, chunk_records, model.config.evaluation.aggregate)
    values, mask = (np.asarray(outputs[field], np.float64) for field in labels.fields)
    if labels.task == "regression":
        values = values * np.array(labels.std) + np.array(labels.mean)
    truth = np.where(mask[:, None] > 0, values, np.nan)
    _, truth = aggregate(truth, chunk_records, "mean")
    limits = None
    if thresholds:
        limits = [[thresholds[view].get(n, THRESHOLD) for n in labels.names] for view in views]
    return Told(
        labels,
        numbers,
        scores,
        truth,
        None if limits is None else np.array(limits),
        chunks,
        chunk_records,
    )


def write(
    folder: Path,
    model: Trained,
    records: Sequence[Record],
    told: Sequence[Told],
    *,
    with_chunks: bool = False,
) -> None:
    """Writes `predictions.csv` and `.parquet`, and those of the chunks if asked for.

    In Parquet tags are lists; in CSV they stand in one cell with | between, as in a manifest, or as
    a JSON list where a name has a | itself or begins with [, and where there are none: an empty
    cell is not known. Cells are what the names are, also those that a spreadsheet takes for
    formulas.

    Args:
        folder: Of the report.
        model: That answered.
        records: Of the split.
        told: Of `tell`, one or more.
        with_chunks: Write `chunk_predictions.csv` and `.parquet` too, a row for each chunk with the
            second of its record at which it begins.
    """
    numbers = told[0].records
    found = _about(records, numbers)
    for each in told:
        found |= each.columns()
    _write(folder / FILE, found)
    if not with_chunks:
        return
    order = np.argsort(told[0].chunk_records, kind="stable")
    found = _about(records, told[0].chunk_records[order])
    found["start"] = list(_starts(model, records, told[0].chunk_records[order]))
    for each in told:
        before = f"{each.labels.name}/" if each.labels.name else ""
        columns = each.by_label(each.chunks[order])
        found |= {before + name: column for name, column in columns.items()}
    _write(folder / CHUNK_FILE, found)


def _about(records: Sequence[Record], numbers: np.ndarray) -> Columns:
    chosen = [records[number] for number in numbers]
    return {"id": [r.id for r in chosen], "path": [str(r.path) for r in chosen]}


def _starts(model: Trained, records: Sequence[Record], numbers: np.ndarray) -> Iterator[float]:
    """The second of its record at which each chunk begins; the chunks of a record in a row."""
    segmenting, reader = model.contract.segmenting, make_reader(model.contract)
    for number in np.unique(numbers):
        yield from segmenting.chunk_starts(reader.duration(records[number]), reader.sample_rate)


def _write(stem: Path, columns: Columns) -> None:
    """Writes columns of text, lists of names and numbers, as both kinds of files."""
    # Halves of characters, of names that are no text, have no place in either.
    columns = {_text(name): [_plain(cell) for cell in column] for name, column in columns.items()}
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    with whole_file.writing(stem.with_suffix(".parquet")) as file:
        parquet.write_table(table, file)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows(map(_cells, zip(*columns.values(), strict=True)))
    whole_file.write(stem.with_suffix(".csv"), text.getvalue())


def _plain(cell: object) -> object:
    """A cell as Arrow takes it; a number that is not known is None."""
    if isinstance(cell, str):
        return _text(cell)
    if isinstance(cell, list):
        return [_text(name) for name in cell]
    return float(cell) if cell is not None and np.isfinite(cell) else None


def _text(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _cells(row: tuple) -> list:
    return [_joined(cell) if isinstance(cell, list) else cell for cell in row]


def _joined(names: list[str]) -> str:
    # A cell that looks like a list is read as one, and an empty one as what is not known.
    if not names or any(SEPARATOR in name or name.startswith("[") for name in names):
        return json.dumps(names, ensure_ascii=False)
    return SEPARATOR.join(names)
