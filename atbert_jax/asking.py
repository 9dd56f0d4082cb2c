"""What is given in Python, and what a trained model answers to it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atbert_jax.given_audio import Audio, as_record

if TYPE_CHECKING:  # JAX is loaded when a model is
    from atbert_jax.evaluation.prediction import Answer, Predictor
    from atbert_jax.evaluation.zero_shot import ZeroShot
    from atbert_jax.training.trained import Trained


class Asking:
    """Asks a trained model about files, waveforms and texts.

    Args:
        trained: From `training.trained.load`.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @functools.cached_property
    def _predictor(self) -> Predictor:
        from atbert_jax.evaluation.prediction import Predictor

        return Predictor(self.trained)

    def embeddings(self, **given: Any) -> np.ndarray:
        """(N, D), of length 1, of what `answers` takes.

        Raises:
            ValueError: as `answers`, or if the model gives no direction.
        """
        answers = self.answers(**given)
        found = np.stack([answer.embedding for answer in answers])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        for answer, length in zip(answers, lengths[:, 0], strict=True):
            if not np.isfinite(length) or length < np.finfo(np.float32).tiny:
                what = "0 in every direction" if np.isfinite(length) else "no finite numbers"
                name = answer.record.text or answer.record.id
                raise ValueError(f"{name}: the model gives {what} for it, which is no direction")
        return found / lengths

    def answers(
        self,
        *,
        audio: Sequence[Audio] = (),
        texts: Sequence[str] = (),
        text: str = "",
        sample_rate: int | None = None,
        choices: ZeroShot | None = None,
    ) -> list[Answer]:
        """One answer for each recording and each text alone; `text` goes with every recording.

        Raises:
            ValueError: if something cannot be used, or the model knows nothing of its kind.
        """
        from atbert_jax.evaluation.prediction import Predictor
        from atbert_jax.input_pipeline.manifest.records import Record
        from atbert_jax.objectives.views import AUDIO, TEXT

        predictor = Predictor(self.trained, choices) if choices else self._predictor
        if text and (refused := predictor.refusal((AUDIO, TEXT))):
            raise ValueError(f"text {text!r}: {refused}; leave it out")
        if text and not predictor.reads(text):
            raise ValueError(f"text {text!r}: the model reads no word in it")
        with tempfile.TemporaryDirectory() as folder:
            records = [
                as_record(each, text, sample_rate, Path(folder) / f"{number}.wav")
                for number, each in enumerate(audio)
            ]
            records += [Record(id="text", path=Path(), text=each) for each in texts]
            answers = list(predictor.predict(records))
        for answer in answers:
            if answer.error:
                raise ValueError(f"{answer.record.id}: {answer.error}")
        return answers
