"""A trained model in Python: `atbert_jax.load("runs/genre")`.

Its answers are those of the commands: the same functions give both.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atbert_jax import choices, extras
from atbert_jax.asking import Asking
from atbert_jax.given_audio import Audio, several

if TYPE_CHECKING:  # JAX is loaded when a model is
    from atbert_jax.evaluation.linear_head import LinearHead
    from atbert_jax.evaluation.prediction import Answer
    from atbert_jax.evaluation.taggram import Taggram
    from atbert_jax.training.trained import Trained


def load(source: str | Path, *, step: int | None = None) -> Model:
    """Loads a model that was trained or converted.

    Args:
        source: Its folder; or `hub:owner/name` of a model that `atbert push` has put on the Hugging
            Face hub, with `@revision` behind it if it is not the latest.
        step: Which checkpoint; None is the best one.

    Raises:
        ValueError: if it is no such folder or repository, or has no such checkpoint.
        OSError: if the hub does not have it, or cannot be reached.
    """
    from atbert_jax.training import trained
    from atbert_jax.weights import hub

    return Model(trained.load(hub.folder(source), step))


class Model:
    """A trained model that answers about audio and text.

    Audio is given as a file or an array, or as a list of either. Long audio is heard in chunks, and
    the model is compiled once, whatever the lengths; the first answer takes longer for that.

    Args:
        trained: From `training.trained.load`.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained, self._asking = trained, Asking(trained)

    def __repr__(self) -> str:
        does = ", ".join(self.modalities)
        return f"Model({str(self.trained.workdir)!r}, step {self.trained.step}; {does})"

    @functools.cached_property
    def modalities(self) -> tuple[str, ...]:
        """What it hears and reads: 'audio', 'text' or both."""
        return tuple(self.trained.learner.model.modalities)

    def embed_audio(
        self, audio: Audio | Sequence[Audio], *, sample_rate: int | None = None
    ) -> np.ndarray:
        """One vector for each recording: the mean over its chunks, made of length 1.

        Args:
            audio: N files or waveforms.
            sample_rate: Of the waveforms, in Hz; files have their own.

        Returns:
            (N, D), float32.

        Raises:
            ValueError: if a file or waveform cannot be used, or the model hears nothing.
        """
        return self._asking.embeddings(audio=several(audio), sample_rate=sample_rate)

    def embed_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """One vector of length 1 for each text, (N, D), float32.

        Raises:
            ValueError: if the model reads no text, or finds none in one of them.
        """
        return self._asking.embeddings(texts=several(texts))

    def similarity(
        self,
        audio: Audio | Sequence[Audio],
        texts: str | Sequence[str],
        *,
        sample_rate: int | None = None,
    ) -> np.ndarray:
        """The cosine of each recording (N) with each text (M), (N, M), float32.

        Raises:
            ValueError: as `embed_audio` and `embed_text`, or if the model was not trained to bring
                recordings and texts together.
        """
        self.require_alignment()
        return self.embed_audio(audio, sample_rate=sample_rate) @ self.embed_text(texts).T

    def query(
        self,
        texts: str | Sequence[str] = (),
        *,
        like: Audio | Sequence[Audio] = (),
        without: str | Sequence[str] = (),
        sample_rate: int | None = None,
    ) -> np.ndarray:
        """What to ask an `Index` for: near to texts and recordings, and not at all in others.

        Args:
            texts: That are wanted.
            like: Recordings that are wanted.
            without: Texts of what is not wanted.
            sample_rate: Of waveforms, in Hz.

        Returns:
            (D,), of length 1.

        Raises:
            ValueError: as `similarity`, if nothing is wanted, or nothing is left of it.
        """
        from atbert_jax.library.embedding_index import combined

        texts, like, without = (
            [] if isinstance(given, Sequence) and not given else several(given)
            for given in (texts, like, without)
        )
        if not texts and not like:
            raise ValueError(
                'nothing to search for; give a text, as "sad piano", or a file to be like'
            )
        if texts or without:
            self.require_alignment()
        wanted = [self.embed_text(texts)] if texts else []
        wanted += [self.embed_audio(like, sample_rate=sample_rate)] if like else []
        return combined(np.concatenate(wanted), self.embed_text(without) if without else None)

    def require_alignment(self) -> None:
        """Refuses a model that does not bring recordings and texts together.

        Raises:
            ValueError: saying what it was trained on instead.
        """
        learned = self.trained.learner.objectives
        if "alignment" not in learned:
            raise ValueError(
                f"{self.trained.workdir}: cosines of recordings and texts say nothing, for it was"
                f" trained on {', '.join(learned)} without 'alignment'; ask by recordings, which"
                " any model can"
            )

    def tag(
        self,
        audio: Audio,
        *,
        text: str = "",
        top: int | None = None,
        by_time: bool = False,
        sample_rate: int | None = None,
    ) -> dict[str, float] | Taggram:
        """The labels of a recording.

        Args:
            audio: A file or a waveform.
            text: That goes with it, where the model reads text.
            top: How many labels, the most probable ones; None is all of them.
            by_time: Give the probabilities of each chunk too, as a `Taggram`, which can be drawn.
            sample_rate: Of a waveform, in Hz.

        Returns:
            Probability by label, the most probable first.

        Raises:
            ValueError: if the audio cannot be used, or the model tells no labels.
        """
        (answer,) = self._asking.answers(audio=[audio], text=text, sample_rate=sample_rate)
        if "probabilities" not in answer.fields:
            raise ValueError(
                f"{self.trained.workdir}: was trained on no labels; ask `zero_shot`, or fine-tune"
            )
        if by_time:
            return self._taggram(answer)
        return _most_probable(answer.fields["probabilities"], top)

    def zero_shot(
        self,
        audio: Audio | Sequence[Audio],
        labels: Sequence[str],
        *,
        template: str = "{}",
        sample_rate: int | None = None,
    ) -> list[dict[str, float]]:
        """Which of these labels each recording is, though the model was not trained on them.

        Args:
            audio: N files or waveforms.
            labels: Two or more, different.
            template: The text of a label, with {} in the place of its name.
            sample_rate: Of waveforms, in Hz.

        Returns:
            For each recording the probability by label, the most probable first.

        Raises:
            ValueError: if the audio or the labels cannot be used, or the model compares no
                recordings with texts.
        """
        from atbert_jax.evaluation.zero_shot import NAME, ZeroShot

        choices = ZeroShot(self.trained, labels, template)
        answers = self._asking.answers(
            audio=several(audio), sample_rate=sample_rate, choices=choices
        )
        return [_most_probable(answer.fields[NAME], None) for answer in answers]

    def predict(
        self, audio: Audio | None = None, text: str = "", *, sample_rate: int | None = None
    ) -> dict[str, Any]:
        """All that the model says of a recording, a text, or both, as `predict --json` prints it.

        Raises:
            ValueError: if nothing is given, or what is given cannot be used.
        """
        from atbert_jax.evaluation.prediction import as_json

        given = [] if audio is None else [audio]
        if not given and not text:
            raise ValueError("nothing to predict; give audio, a text or both")
        beside, alone = (text, []) if given else ("", [text])
        (answer,) = self._asking.answers(
            audio=given, texts=alone, text=beside, sample_rate=sample_rate
        )
        return as_json(answer)

    def fit_head(
        self,
        examples: Audio | Sequence[Audio],
        labels: Sequence,
        *,
        sample_rate: int | None = None,
        groups: Sequence | None = None,
        penalty: float | None = None,
    ) -> LinearHead:
        """Fits a linear head on embeddings of examples: labels or tags of one's own.

        Args:
            examples: N recordings, or their vectors (N, D) as `embed_audio` gives them.
            labels: N labels, each a text or a whole number; or N lists of tags.
            sample_rate: Of waveforms, in Hz.
            groups: (N,), what belongs together, as windows of one recording: they are left out
                together where penalties are compared.
            penalty: On the squared weights; None lets cross-validation choose it.

        Returns:
            The head, with `predict` and `probabilities` of recordings or vectors.

        Raises:
            ValueError: if the examples cannot be used, or have fewer than two labels.
        """
        from atbert_jax.evaluation import linear_head

        given = {"sample_rate": sample_rate, "groups": groups, "penalty": penalty}
        return linear_head.fit(examples, labels, self.embed_audio, **given)

    def evaluate(
        self,
        manifest: str | Path | None = None,
        output: str | Path | None = None,
        *,
        split: str = "test",
        **settings: Any,
    ) -> dict:
        """Measures the model on a split of a manifest, as `atbert evaluate` does.

        Args:
            manifest: With labels, or with texts; None is the one of the training.
            output: Folder for `report.html`, `metrics.json` and predictions; None keeps none.
            split: 'train', 'val' or 'test'.
            **settings: Others of `evaluation.evaluate_run.evaluate`, as `with_baseline=False`.

        Returns:
            What `metrics.json` holds.

        Raises:
            ValueError: if the manifest or the split is not as it should be.
            ModuleNotFoundError: if the extra `[train]` is not installed.
        """
        with extras.named(), tempfile.TemporaryDirectory() as folder:
            from atbert_jax.evaluation.evaluate_run import evaluate

            choices.require("split", split, ("train", "val", "test"))
            settings.setdefault("step", self.trained.step)
            if manifest is not None:
                settings["data"] = {"manifest": str(manifest)} | settings.get("data", {})
            place = Path(output or folder).expanduser()
            return evaluate(self.trained.workdir, split, place, **settings)

    def _taggram(self, answer: Answer) -> Taggram:
        from atbert_jax.evaluation import taggram

        contract = self.trained.contract
        names = contract.labels.names
        whole = np.array([answer.fields["probabilities"][name] for name in names])
        title, scores = answer.record.name, answer.chunk_scores
        return taggram.make(title, contract, answer.duration, scores, whole)


def _most_probable(probabilities: dict[str, float], top: int | None) -> dict[str, float]:
    ordered: Iterable = sorted(probabilities.items(), key=lambda item: item[1], reverse=True)
    return dict(list(ordered)[:top])
