"""A teacher's labels for audio that has none, as a manifest that students are trained on.

The teacher hears clean audio, as in evaluation; what it believes stands in a column
`probabilities`, which training takes for soft labels. Training on this manifest and a labelled one,
half of each batch from either and the pseudo-labelled half augmented, makes a noisy student:

atbert train --config tagger:music_transformer,msd,noisy_student \
    --workdir runs/student --config.data.manifest=labelled.csv,pseudo.jsonl

The Music Tagging Transformer (Won et al. 2021) asks the teacher within each step, for the very crop
that the student hears. Here it is asked once, beforehand, as Xie et al. (2020) do: a step costs no
more than any other, and a student that has become the better one can label the audio anew.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from rich.console import Console

from atbert_jax.evaluation.prediction import Answer, Predictor
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.training import trained

# Of what is written, the rest is noise.
DIGITS = 4


def _stretches(records: Iterable[Record], predictor: Predictor) -> Iterator[Record]:
    """Each record as records of the model's length; of a rest, at least half of it makes one.

    A file that cannot be read stays as it is; the predictor says why.
    """
    segmenting = predictor.model.contract.segmenting
    length = segmenting.segments * segmenting.seconds
    for record in records:
        try:
            duration = predictor.reader.duration(record)
        except AudioError:
            yield record
            continue
        for number in range(max(1, int(duration / length + 0.5))):
            start = number * length
            yield dataclasses.replace(
                record,
                id=f"{record.id}@{record.start + start:.12g}",
                start=record.start + start,
                duration=min(length, duration - start),
            )


def _row(answer: Answer, folder: Path) -> dict:
    """An answer as a row of a manifest in this folder."""
    record = answer.record
    inside = record.path.is_relative_to(folder)
    path = record.path.relative_to(folder) if inside else record.path
    about = {"id": record.id, "path": str(path), "text": record.text, "group": record.group}
    about |= {"start": record.start, "duration": record.duration}
    if record.place is not None:
        about["place"] = str(record.place)
    known = answer.fields["probabilities"]
    return {name: value for name, value in about.items() if value} | {
        "probabilities": {name: round(value, DIGITS) for name, value in known.items()}
    }


def write(
    checkpoint: Path,
    output: Path,
    records: Iterable[Record],
    *,
    chunks: bool = False,
    console: Console | None = None,
) -> tuple[int, int]:
    """Writes a manifest of records with a model's probabilities as soft labels.

    Memory does not grow with the number of records. Until all are labelled, the rows stand in
    `<output>.part`.

    Args:
        checkpoint: The teacher's run.
        output: The manifest, `.jsonl`.
        records: To be labelled. Those that the teacher was validated or tested on are left out, so
            that no student learns them; so are those that cannot be read, which are named.
        chunks: Label every stretch of the model's length by itself, not all of a file at once.
        console: Where to talk.

    Returns:
        Numbers of rows written and of records that could not be read.

    Raises:
        ValueError: if the output is no `.jsonl` or there already, or the model tells no labels.
    """
    if output.suffix != ".jsonl":
        raise ValueError(f"{output}: name a file with the extension .jsonl")
    if output.exists():
        raise ValueError(f"{output}: exists already; name a new file, or remove it first")
    console = console or Terminal()
    with whole_file.writing(output) as file:
        counts = _write(checkpoint, file, records, output.parent, chunks=chunks, console=console)
    written, lost, outside = counts
    console.print(
        f"{written} rows in {output}; {lost} could not be read", highlight=False, markup=False
    )
    if outside:
        folder = os.path.realpath(output.parent)
        console.print(
            f"{outside} are outside of {folder}: train with --config.data.allow_outside",
            markup=False,
        )
    return written, lost


def _write(
    checkpoint: Path,
    file: IO[bytes],
    records: Iterable[Record],
    folder: Path,
    *,
    chunks: bool,
    console: Console,
) -> tuple[int, int, int]:
    """Writes the rows of a manifest in this folder.

    Returns:
        Numbers of rows written, of records that could not be read, and of rows whose audio is
        outside of the folder.
    """
    model = trained.load(checkpoint)
    if model.contract.labels.task not in ("single_label", "multi_label"):
        raise ValueError(
            f"{checkpoint}: this model tells no labels (data.task="
            f"{model.contract.labels.task!r}); use one that was trained to classify or to tag"
        )
    predictor = Predictor(model)
    kept = (model.config.data.val_split, model.config.data.test_split)
    records = (record for record in records if record.split not in kept)
    wanted = _stretches(records, predictor) if chunks else records
    folder = Path(os.path.realpath(folder))
    written = lost = outside = 0
    for answer in predictor.predict(wanted):
        if answer.error:
            console.print(f"left out: {answer.error}", highlight=False, markup=False)
            lost += 1
            continue
        file.write((json.dumps(_row(answer, folder), ensure_ascii=False) + "\n").encode())
        outside += not answer.record.path.is_relative_to(folder)
        written += 1
    return written, lost, outside
