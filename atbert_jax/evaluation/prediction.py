"""Answers for any files and texts, in bounded memory and without TensorFlow."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from atbert_jax.evaluation import zero_shot
from atbert_jax.evaluation.matching import Stream, compare
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.batching.frames import make_reader, nothing
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.objectives.views import (
    AUDIO,
    AUDIO_TEXT,
    MODALITIES,
    TEXT,
    encode_views,
    possible,
)
from atbert_jax.training.learner import Batch, Learner
from atbert_jax.training.trained import Trained

# Chunks that are computed at a time.
BATCH = 8


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the model says of one record.

    Attributes:
        record: The record; its `path` is empty where there is only a text.
        duration: Of the clip, in seconds; None without audio.
        fields: What the objectives answer: `prediction`, `probabilities`, `match`, ...
        embedding: (D,), the mean over the clip's chunks; None where there is an error.
        chunk_embeddings: (K, D) of each chunk of the clip; None where there is an error.
        chunk_scores: (K, C) probabilities of the contract's labels in each chunk of the clip; None
            where the model tells no labels.
        error: Why the file could not be read, or the text not be understood, or ''.
        note: Why there are no fields, or ''.
    """

    record: Record
    duration: float | None = None
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    embedding: np.ndarray | None = None
    chunk_embeddings: np.ndarray | None = None
    chunk_scores: np.ndarray | None = None
    error: str = ""
    note: str = ""


def has_audio(record: Record) -> bool:
    """Whether a record names a file; the path of a text alone is '.'."""
    return bool(record.path.name)


def ask(learner: Learner, batch: Batch) -> tuple[dict, dict]:
    """Each objective's outputs (B, ...), and the embeddings (B, D) of each view.

    Args:
        learner: The model.
        batch: After `prepare`.
    """
    views = encode_views(learner.model, batch, possible(learner.model), None)
    embeddings = {view: states.hidden[:, 0] for view, states in views.items()}
    return learner.predict(batch), embeddings


def unknown_fields(contract: Contract, rows: int) -> Batch:
    """The fields of a batch that hold what a prediction does not know, of B rows."""
    fields = {"record": jnp.zeros(rows, jnp.int32), "valid": jnp.ones(rows, jnp.float32)}
    for labels in contract.all_labels:
        values, mask = labels.fields
        fields[values] = jnp.zeros((rows, len(labels.names)), jnp.float32)
        fields[mask] = jnp.zeros(rows, jnp.float32)
    return fields


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON can hold it, as `predict --json` prints it."""
    row = {"path": str(answer.record.path) if has_audio(answer.record) else None}
    if answer.record.place is not None:
        row |= {"place": answer.record.place, "id": answer.record.id}
    if answer.record.text:
        row["text"] = answer.record.text
    if answer.error:
        return row | {"error": answer.error}
    if answer.note:
        row["note"] = answer.note
    return row | {"duration": answer.duration, **answer.fields}


@dataclasses.dataclass
class _Open:
    """A record whose chunks are not all computed yet."""

    record: Record
    duration: float | None = None
    given: tuple[str, ...] = ()
    read: bool = False
    waiting: int = 0
    error: str = ""
    outputs: list[dict] = dataclasses.field(default_factory=list)
    embeddings: list[np.ndarray] = dataclasses.field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether everything is computed, or nothing will be."""
        return bool(self.error) or (self.read and not self.waiting)


class Predictor:
    """Asks a trained model about records.

    Files are read chunk by chunk, so memory does not grow with their length; chunks of several
    files are computed together, and the model is compiled for one shape only.

    Of a file with a text, what the model does not know is left out (see `refusal`); by itself it is
    an error.

    Args:
        model: From `trained.load`.
        labels: To choose from for each file, whether or not the model was trained on them.
        chosen: What `evaluate` has chosen for it on validation data, by objective.
        with_fields: Whether answers have `fields` and `chunk_scores`; else they are embeddings
            alone, which take less memory.
    """

    def __init__(
        self,
        model: Trained,
        labels: zero_shot.ZeroShot | None = None,
        chosen: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        *,
        with_fields: bool = True,
    ) -> None:
        self.model, self.labels, self.chosen = model, labels, chosen
        self.with_fields = with_fields
        self.texts = labels.texts if labels else None
        contract = model.contract
        self.reader = make_reader(contract)
        learner = model.learner
        self.objectives = learner.objectives
        learned = {view for objective in self.objectives.values() for view in objective.views}
        self.views = [view for view in possible(learner.model) if view in learned]
        if not contract.is_word.any():  # it never saw a text
            self.views = [AUDIO] if any(AUDIO in MODALITIES[view] for view in self.views) else []

        @jax.jit
        def step(
            params: dict, statistics: dict, batch: Batch, texts: Stream | None
        ) -> tuple[dict, dict]:
            learner = nnx.merge(model.definition, params, statistics)
            batch = learner.prepare(batch, jax.random.key(0))
            outputs, embeddings = ask(learner, batch)
            if texts is not None:
                outputs[zero_shot.NAME] = compare(learner, batch, texts)
            return outputs, embeddings

        self._step = step

    def refusal(self, given: tuple[str, ...]) -> str:
        """Why the model cannot be asked about these modalities at once, 'audio' and 'text', or ''.

        It knows those that its network has and that it was trained on.
        """
        if any(set(given) <= MODALITIES[view] for view in self.views):
            return ""
        known = sorted({name for view in self.views for name in MODALITIES[view]})
        lacking = [name for name in given if name not in known]
        if lacking:
            return (
                f"{self.model.workdir} was trained on {' and '.join(known)} alone and knows no"
                f" {lacking[0]}"
            )
        return (
            f"{self.model.workdir} was trained on {' and on '.join(known)}, each by itself; ask"
            " about one of them"
        )

    def given(self, record: Record, *, has_text: bool) -> tuple[str, ...]:
        """The modalities of a record that the model is asked about, 'audio' and 'text'.

        Args:
            record: The record.
            has_text: Whether its text has a token.
        """
        heard = (AUDIO,) if has_audio(record) and not self.refusal((AUDIO,)) else ()
        return (*heard, TEXT) if has_text and not self.refusal((*heard, TEXT)) else heard

    def reads(self, text: str) -> bool:
        """Whether the model knows a word of it."""
        contract = self.model.contract
        ids, mask = tokenization.tokenize(self.model.tokenizer, [text], contract.max_tokens)
        known = [number for number in ids[mask > 0].tolist() if contract.is_word[number]]
        # SentencePiece marks where a word begins, also of one that it does not know, and byte-level
        # BPE keeps spaces.
        pieces = self.model.tokenizer.convert_ids_to_tokens(known)
        return any(piece.strip("\u2581\u0120") for piece in pieces)

    def predict(self, records: Iterable[Record]) -> Iterator[Answer]:
        """One answer for each record, in order; a file that cannot be read gets an `error`."""
        pending: list[dict] = []
        open_answers: list[_Open] = []
        for record in records:
            answer = _Open(record)
            open_answers.append(answer)
            try:
                answer.error = self.unknown(record)
                for row in () if answer.error else self._rows(answer):
                    pending.append(row)
                    answer.waiting += 1
                    if len(pending) == BATCH:
                        self._flush(pending)
                answer.read = True
            except AudioError as error:
                answer.error = str(error)
            yield from self._finished(open_answers)
        self._flush(pending)
        yield from self._finished(open_answers)

    def unknown(self, record: Record) -> str:
        """Why the model has nothing to say of a record, or ''."""
        if has_audio(record) and not self.refusal((AUDIO,)):
            return ""
        if has_audio(record) and not record.text:
            return self.refusal((AUDIO,))
        if self.reads(record.text):
            return self.refusal((TEXT,))
        return self.refusal((TEXT,)) or f"the model reads no word in {record.text!r}"

    def _rows(self, answer: _Open) -> Iterator[dict]:
        """The chunks of a record as rows of a batch."""
        record, contract = answer.record, self.model.contract
        ids, mask = tokenization.tokenize(self.model.tokenizer, [record.text], contract.max_tokens)
        row = {"token_ids": ids[0], "token_mask": mask[0], "answer": answer}
        answer.given = self.given(record, has_text=bool(mask.any()))
        carries, masks = self.reader.carries, self.reader.masks
        if AUDIO not in answer.given:
            silence, real = nothing(self.reader)
            yield row | {carries: silence, **masks(real)}
            return
        answer.duration = self.reader.duration(record)
        count = contract.segmenting.count(answer.duration, self.reader.sample_rate)
        for chunk in range(count):
            sound, real = self.reader.segments(record, chunk)
            yield row | {carries: sound, **masks(real)}

    def _flush(self, rows: list[dict]) -> None:
        """Computes the rows and hands each its outputs."""
        if not rows:
            return
        filled = rows + rows[:1] * (BATCH - len(rows))
        names = rows[0].keys() - {"answer"}
        batch = {name: jnp.asarray(np.stack([row[name] for row in filled])) for name in names}
        batch |= unknown_fields(self.model.contract, BATCH)
        outputs, embeddings = jax.device_get(
            self._step(self.model.params, self.model.statistics, batch, self.texts)
        )
        for number, row in enumerate(rows):
            answer = row["answer"]
            if self.with_fields:
                answer.outputs.append(jax.tree.map(lambda x, n=number: x[n], outputs))
            view = AUDIO_TEXT if len(answer.given) > 1 else answer.given[0]
            view = view if view in embeddings else next(iter(embeddings))
            answer.embeddings.append(embeddings[view][number].astype(np.float32))
            answer.waiting -= 1
        rows.clear()

    def _finished(self, open_answers: list[_Open]) -> Iterator[Answer]:
        while open_answers and open_answers[0].done:
            yield self._close(open_answers.pop(0))

    def _close(self, answer: _Open) -> Answer:
        record = answer.record
        if answer.error:
            return Answer(record, error=answer.error)
        chunks = np.stack(answer.embeddings)
        embedding = np.mean(answer.embeddings, axis=0)
        found = Answer(record, answer.duration, embedding=embedding, chunk_embeddings=chunks)
        return self._with_fields(found, answer) if self.with_fields else found

    def _with_fields(self, found: Answer, answer: _Open) -> Answer:
        """What the objectives say, added to the embeddings."""
        outputs = jax.tree.map(lambda *rows: np.stack(rows), *answer.outputs)
        fields: dict[str, Any] = {}
        chunk_scores = None
        for name, objective in self.objectives.items():
            aggregate = self.model.config.evaluation.aggregate
            chosen = self.chosen.get(name, {})
            fields |= objective.answer(outputs[name], answer.given, aggregate, **chosen)
            own = objective.chunk_scores(outputs[name], answer.given)
            chunk_scores = chunk_scores if own is None else own
        if self.labels and AUDIO in answer.given:
            fields[zero_shot.NAME] = self.labels.answer(outputs[zero_shot.NAME])
        note = ""
        if not fields:
            note = f"{' and '.join(self.objectives)} gave no answer to {answer.given[0]} alone"
        return dataclasses.replace(found, fields=fields, chunk_scores=chunk_scores, note=note)
