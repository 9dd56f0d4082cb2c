"""Use a model: `atbert predict --checkpoint runs/genre song.mp3 folder table.csv`.

Files, folders and manifests are told apart by what they are. `--text` goes with every file, and
stands alone where there is none. `--labels` asks which of these labels each file is, though the
model was not trained on them. The exit code is 1 if a file could not be read, or
a row of a manifest has nothing that the model knows.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from absl import flags

from atbert_jax import command
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible, visible_json

if TYPE_CHECKING:  # the model and JAX are loaded when they are needed, after the flags are checked
    from atbert_jax.evaluation.prediction import Answer, Predictor
    from atbert_jax.input_pipeline.manifest.records import Record
    from atbert_jax.training.trained import Trained

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder that a training run wrote, or hub:owner/name."
)
TEXT = flags.DEFINE_string("text", "", "Text that goes with the files, or is asked about alone.")
LABELS = flags.DEFINE_string(
    "labels", None, "Labels to choose from with commas between, or a file with one on each line."
)
TEMPLATE = flags.DEFINE_string("template", "{}", "A label's text for --labels, as 'a {} track'.")
JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line for each file.")
EMBEDDINGS = flags.DEFINE_string("embeddings", None, "Write the embeddings to this .npz file.")
HOP = flags.DEFINE_float(
    "hop", None, "Seconds from one chunk of a file to the next; 0: its length.", lower_bound=0
)
CHUNKS = flags.DEFINE_integer(
    "chunks", None, "Evenly spaced chunks of each file; 0: consecutive ones.", lower_bound=0
)
TAGGRAM = flags.DEFINE_string(
    "taggram", None, "Folder for a picture of each file's labels by time, with the numbers."
)
THRESHOLDS = flags.DEFINE_string(
    "thresholds", None, "metrics.json of an evaluation: tags are decided by its thresholds."
)
ALLOW_OUTSIDE = flags.DEFINE_bool(
    "allow_outside", False, "Read files that manifests name outside of their own folder."
)
STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")

# Labels that the table shows of a file, the most probable first.
SHOWN = 3


def chosen(path: Path) -> dict:
    """What `evaluate` has chosen on validation data.

    Raises:
        ValueError: if the file is no `metrics.json` with thresholds.
    """
    remedy = (
        "give the metrics.json of an evaluation of this model on tags (multi_label) with a labelled"
        " val split"
    )
    found = whole_file.read_json(path, remedy).get("chosen")
    if not _are_thresholds(found):
        raise ValueError(f"{path}: holds no thresholds; {remedy}")
    return found


def _are_thresholds(chosen: object) -> bool:
    """Whether it is {objective: {'thresholds': {view: {tag: number}}}}."""
    inner = [chosen]
    for _ in range(4):
        if not all(isinstance(each, dict) and each for each in inner):
            return False
        inner = [value for each in inner for value in each.values()]
    names = {name for settings in chosen.values() for name in settings}
    return names == {"thresholds"} and all(isinstance(value, int | float) for value in inner)


def read_labels(labels: str) -> list[str]:
    """The labels that `--labels` names.

    Raises:
        ValueError: if there are fewer than two.
    """
    from atbert_jax.input_pipeline.labelling import read_names

    if "," not in labels and Path(labels).is_file():
        names = list(read_names(Path(labels)))
    else:
        names = [name.strip() for name in labels.split(",") if name.strip()]
    if len(names) < 2:
        raise ValueError(
            f"--labels={labels!r} is neither a file with two labels or more, one on each line, nor"
            " such labels with commas between them"
        )
    return names


def as_row(answer: Answer) -> list[str]:
    """What the table shows of an answer."""
    from atbert_jax.evaluation.prediction import has_audio

    record = answer.record
    name = record.name if has_audio(record) else record.text
    if answer.error:
        return [name, "", f"error: {answer.error}"]
    parts = _said(answer.fields)
    tasks = answer.fields.keys() - {"prediction", "probabilities", "zero_shot", "match"}
    parts += [f"{task}: {', '.join(_said(answer.fields[task]))}" for task in sorted(tasks)]
    duration = "" if answer.duration is None else f"{answer.duration:.1f} s"
    return [name, duration, ", ".join(parts) or f"embedding only: {answer.note}"]


def _said(fields: dict) -> list[str]:
    """What the fields of one task say, in words."""
    parts = []
    if probabilities := fields.get("zero_shot") or fields.get("probabilities"):
        best = sorted(probabilities, key=probabilities.get, reverse=True)[:SHOWN]
        parts += [f"{label} {probabilities[label]:.3f}" for label in best]
    elif targets := fields.get("prediction"):
        parts += [f"{label} {value:.3f}" for label, value in targets.items()]
    if "match" in fields:
        parts.append(f"text matches with {fields['match']:.3f}")
    return parts


def drawing(answers: Iterable[Answer], model: Trained, folder: Path) -> Iterator[Answer]:
    """Draws the labels of each file by time, as the answers come.

    `folder` gets `<file's name>.png` and `.npz`, with a number behind the name where another file
    has it; of taggers with self-attention also `<file's name>.contribution.png` and `.npz`.

    Raises:
        ValueError: if the model tells no labels.
    """
    from atbert_jax.evaluation import contribution, taggram

    contract = model.contract
    if contract.labels.task not in ("single_label", "multi_label"):
        raise ValueError(
            f"--taggram draws probabilities of labels, and {model.workdir} tells none; give the"
            " checkpoint of a classification"
        )
    folder.mkdir(parents=True, exist_ok=True)
    heard = contribution.network_of(model.learner) and contribution.Contributions(model)
    seen = Counter()
    for answer in answers:
        record = answer.record
        if answer.duration is not None:  # it was heard
            name = Path(record.name).stem
            seen[name] += 1
            stem = folder / (name + (f"-{seen[name]}" if seen[name] > 1 else ""))
            whole = np.array([answer.fields["probabilities"][n] for n in contract.labels.names])
            scores = answer.chunk_scores
            taggram.make(record.name, contract, answer.duration, scores, whole).save(stem)
            if heard:
                heard.of_chunk(record, contribution.telling_chunk(scores, whole)).save(stem)
        yield answer


def show(answers: Iterable[Answer], json_lines: bool) -> list[Answer]:
    """Prints answers as they come (JSON) or as one table, and returns them."""
    from atbert_jax.evaluation.prediction import as_json
    from atbert_jax.reporting.tables import Table, print_table

    answers_seen = []
    for answer in answers:
        answers_seen.append(answer)
        if json_lines:
            print(visible_json(as_json(answer)), flush=True)
    if not json_lines:
        rows = [as_row(answer) for answer in answers_seen]
        print_table(Table("Predictions", ["file", "duration", "answer"], rows))
    return answers_seen


def main(arguments: list[str]) -> None:
    """Predicts, prints, and writes the embeddings and pictures where asked for."""
    from atbert_jax.evaluation.named_records import named
    from atbert_jax.evaluation.prediction import Predictor
    from atbert_jax.evaluation.zero_shot import ZeroShot
    from atbert_jax.training import trained
    from atbert_jax.weights import hub

    if flags.FLAGS["template"].present and not LABELS.value:
        raise ValueError("--template is the text of a label; it needs --labels")
    if LABELS.value is not None and not arguments:
        raise ValueError("--labels are of files; name audio files, folders or manifests")
    names = [] if LABELS.value is None else read_labels(LABELS.value)
    wanted = list(named(arguments, TEXT.value, allow_outside=ALLOW_OUTSIDE.value))
    choices = chosen(Path(THRESHOLDS.value)) if THRESHOLDS.value else {}
    if TAGGRAM.value:
        whole_file.claim(Path(TAGGRAM.value))
    with _embeddings(EMBEDDINGS.value) as file:
        model = trained.load(hub.folder(CHECKPOINT.value), STEP.value)
        model = model.chunked(HOP.value, CHUNKS.value)
        labels = ZeroShot(model, names, TEMPLATE.value) if names else None
        predictor = Predictor(model, labels, choices)
        require_known(predictor, TEXT.value, wanted)
        answers = predictor.predict(wanted)
        if TAGGRAM.value:
            answers = drawing(answers, model, Path(TAGGRAM.value))
        answers = show(answers, JSON.value)
        good = [answer for answer in answers if not answer.error]
        unread = f"{len(answers) - len(good)} of {len(answers)} files and texts have no answer"
        if not good:
            command.fail(unread, 1)
        if file:
            np.savez(
                file,
                id=np.array([answer.record.id for answer in good]),
                embedding=np.stack([answer.embedding for answer in good]),
            )
    if len(good) < len(answers):
        command.fail(unread, 1)


@contextlib.contextmanager
def _embeddings(path: str | None) -> Iterator[IO[bytes] | None]:
    """The file for the embeddings, open before anything is predicted; None where none is wanted."""
    if not path:
        yield None
        return
    with whole_file.writing(Path(path if path.endswith(".npz") else f"{path}.npz")) as file:
        yield file


def require_known(predictor: Predictor, text: str, wanted: Sequence[Record]) -> None:
    """Refuses to ask a model about nothing that it knows; counts what it has no answer to.

    Args:
        predictor: Of the model.
        text: Of `--text`.
        wanted: All records.

    Raises:
        ValueError: naming what the model knows.
    """
    from atbert_jax.evaluation.prediction import has_audio
    from atbert_jax.objectives.views import AUDIO, TEXT

    logger = logging.getLogger(__name__)
    heard = next((record for record in wanted if has_audio(record)), None)
    if text:
        if refused := predictor.refusal((AUDIO, TEXT) if heard else (TEXT,)):
            deaf = heard and predictor.refusal((AUDIO,))
            way_out = "name no files" if deaf else "leave --text out"
            raise ValueError(f"--text={text!r}: {refused}; {way_out}")
        if not predictor.reads(text):
            raise ValueError(f"--text={text!r}: the model reads no word in it; write it otherwise")
        return
    unknown = [(record, why) for record in wanted if (why := predictor.unknown(record))]
    if unknown:
        record, why = unknown[0]
        if len(unknown) == len(wanted):
            raise ValueError(f"{record.path if has_audio(record) else record.id}: {why}")
        logger.warning(
            "%d of %d records get no answer: %s", len(unknown), len(wanted), visible(why)
        )
    texts = sum(bool(record.text) for record in wanted)
    if not texts:
        return
    if heard and not predictor.refusal((AUDIO,)) and (why := predictor.refusal((AUDIO, TEXT))):
        logger.warning("%s; %d texts of the manifest are left out", why, texts)


if __name__ == "__main__":
    command.run(main, required=("checkpoint",), takes_arguments=True)
