"""Classification and regression on the summary: single-label, multi-label, numbers."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import lazy_loader as lazy
import ml_collections
import numpy as np
import optax
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.metrics.aggregation import aggregate as aggregate_tracks
from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.objectives.views import (
    AUDIO,
    AUDIO_TEXT,
    MODALITIES,
    TEXT,
    VIEWS,
    encode_views,
    possible,
)
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

# Scikit-learn and Matplotlib take seconds to import, which predicting can do without.
curves = lazy.load("atbert_jax.reporting.curves", suppress_warning=True)
fonts = lazy.load("atbert_jax.reporting.fonts", suppress_warning=True)
metrics = lazy.load("atbert_jax.metrics.scores", suppress_warning=True)
plots = lazy.load("atbert_jax.reporting.plots", suppress_warning=True)

CALIBRATED = {
    "single_label": "Of clips whose label the model gives such a probability, how many have it?",
    "multi_label": "Of clips and tags that the model gives such a probability, how many hold?",
}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": nnx.relu}
CHOICES = {
    "head": ("mlp", "linear", "residual"),
    "activation": ACTIVATIONS,
    "pooling": ("summary", "mean"),
}
DEFAULTS = {
    "views": ("audio_text", "audio", "text"),  # what one head classifies: both, or one alone
    "head": "mlp",  # two layers; or 'linear', or 'residual'
    "hidden": 0,  # width of 'mlp' between the two; 0: half of the trunk's
    "activation": "tanh",  # of 'mlp' between them; or 'relu'
    "pooling": "summary",  # or 'mean' over the sequence
    "dropout": 0.1,  # before the output
    "label_smoothing": 0.0,  # share of each target that all labels get
    "mixup": 0.0,  # alpha of the Beta distribution; 0: off
}


class Classification(Objective):
    """A head that all views share.

    * 'mlp': Linear D -> H, tanh or ReLU, Linear H -> C;
    * 'linear': Linear D -> C;
    * 'residual': of the features f, Linear D -> C of f + W2 dropout(ReLU(W1 f)) with D x D maps, as
      the cross-modal transformer was published.

    The views are audio with text, audio alone and text alone. All that the config names are
    trained together, so that the model also answers where a modality is missing.

    Where there are several tasks, each has a classification of its own under the task's name.

    Args:
        config: `config.classification`, see `defaults`.
        contract: Task and label names.
        trunk: Gives the width D of the summary, and the modalities.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown, the data has no labels, or the trunk not these views.
    """

    needs_text = needs_streams = False  # but for its views
    defaults = DEFAULTS

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        trunk: Trunk,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        views = choices.require_some("config.classification.views", config.views, VIEWS)
        if set(views) - set(possible(trunk)):
            raise ValueError(
                f"config.classification.views={views}, but config.model.name names a model of"
                f" {' and '.join(trunk.modalities)} alone; set"
                f' --config.classification.views="{possible(trunk)}"'
            )
        for name, known in CHOICES.items():
            choices.require(f"config.classification.{name}", config[name], known)
        if config.mixup and views != (AUDIO,):
            raise ValueError(
                "config.classification.mixup mixes audio, so it needs views=('audio',);"
                f" got {views}: set mixup=0 or drop the views with text"
            )
        if not contract.labels.names:
            raise ValueError(
                "config.objectives.classification needs labels: set config.data.task and give the"
                " manifest a column `label` or `labels`, or name config.data.target_columns"
            )
        self.views = views
        self.pooling = config.pooling
        self.mixup = config.mixup
        self.label_smoothing = config.label_smoothing
        self.labels = contract.labels
        self.fields = contract.labels.fields
        self.chooses = contract.labels.task == "multi_label"
        classes = len(contract.labels.names)
        self.dropout = nnx.Dropout(config.dropout)
        self.activation = ACTIVATIONS[config.activation]
        inner = trunk.hidden
        if config.head == "mlp":
            inner = config.hidden or trunk.hidden // 2
        self.dense = None if config.head == "linear" else nnx.Linear(trunk.hidden, inner, rngs=rngs)
        self.residual = nnx.Linear(inner, inner, rngs=rngs) if config.head == "residual" else None
        self.output = nnx.Linear(inner, classes, rngs=rngs)

    def mix(self, batch: Batch, key: jax.Array) -> Batch:
        """Mixup (Zhang et al. 2018): each clip is mixed with another one, labels alike.

        Log-mels are mixed after normalisation, or else the waveforms. Rows without a label mix with
        nothing.
        """
        size = batch["valid"].shape[0]
        share = jax.random.beta(fold(key, 0), self.mixup, self.mixup, (size,))
        share = jnp.maximum(share, 1 - share)
        other = jax.random.permutation(fold(key, 1), size)
        labels, label_mask = self.fields
        usable = batch["valid"] * batch[label_mask]
        share = jnp.where(usable * usable[other] > 0, share, 1.0)

        def mix(x: jax.Array) -> jax.Array:
            part = share.reshape(-1, *[1] * (x.ndim - 1))
            return part * x + (1 - part) * x[other]

        def longer(x: jax.Array) -> jax.Array:
            return jnp.where(share[:, None] < 1, jnp.maximum(x, x[other]), x)

        mixed = dict.fromkeys(("log_mel", "waveform", "frames", labels), mix)
        mixed |= dict.fromkeys(("samples", "segment_mask", "frame_mask"), longer)
        return batch | {name: how(batch[name]) for name, how in mixed.items() if name in batch}

    def logits(self, encoded: Encoded, key: jax.Array | None) -> jax.Array:
        """Maps hidden states (B, T, D) to logits (B, C); `key=None` is evaluation."""
        hidden = encoded.hidden[:, 0]
        if self.pooling == "mean":
            weight = encoded.mask[..., None]
            total = jnp.maximum(weight.sum(axis=1), 1)
            hidden = (encoded.hidden.astype(jnp.float32) * weight).sum(axis=1) / total
        hidden = hidden.astype(jnp.float32)

        def drop(x: jax.Array) -> jax.Array:
            return self.dropout(x, deterministic=key is None, rngs=key)

        if self.dense is None:
            return self.output(drop(hidden))
        if self.residual is None:
            return self.output(self.activation(self.dense(drop(hidden))))
        return self.output(hidden + self.residual(drop(nnx.relu(self.dense(hidden)))))

    def _losses(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """(B,) from logits and labels (B, C)."""
        if self.labels.task == "single_label":
            return optax.softmax_cross_entropy(
                logits, optax.smooth_labels(labels, self.label_smoothing)
            )
        if self.labels.task == "multi_label":
            return optax.sigmoid_binary_cross_entropy(logits, labels).mean(axis=1)
        return ((logits - labels) ** 2).mean(axis=1)

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """Cross entropy, binary cross entropy or squared error, the mean over a row's views.

        A row without text takes no part in the text view, one without a clip none in audio's.

        Args:
            model: The trunk.
            batch: `labels` (B, C), rows with `label_mask` (B,) 0 are left out; of one of several
                tasks, the fields that have its name.
            key: Of the dropout; None = evaluation.

        Returns:
            (sum, weight) of the loss over the rows, and the metric `accuracy` (of the first view;
            single-label only).
        """
        labels, label_mask = self.fields
        weight = batch["valid"] * batch[label_mask]
        audio, text = batch["segment_mask"].max(axis=1), batch["token_mask"].max(axis=1)
        there = {AUDIO: audio, TEXT: text, AUDIO_TEXT: jnp.maximum(audio, text)}
        if self.mixup and key is not None:
            batch = self.mix(batch, fold(key, len(self.views) + 1))
        total = count = jnp.zeros_like(weight)
        metrics = {}
        views = encode_views(model, batch, self.views, fold(key, 0))
        for number, (view, encoded) in enumerate(views.items()):
            logits = self.logits(encoded, fold(key, number + 1))
            total += self._losses(logits, batch[labels]) * there[view]
            count += there[view]
            if self.labels.task == "single_label" and view == self.views[0]:
                hits = logits.argmax(axis=1) == batch[labels].argmax(axis=1)
                metrics["accuracy"] = ((hits * weight).sum(), weight.sum())
        weight *= count > 0
        return ((total * weight / jnp.maximum(count, 1)).sum(), weight.sum()), metrics

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """Scores (B, C) of each view: probabilities, or targets in their own units."""
        views = encode_views(model, batch, self.views, None)
        return {view: self._scores(self.logits(encoded, None)) for view, encoded in views.items()}

    def _scores(self, logits: jax.Array) -> jax.Array:
        if self.labels.task == "single_label":
            return jax.nn.softmax(logits)
        if self.labels.task == "multi_label":
            return jax.nn.sigmoid(logits)
        return logits * jnp.array(self.labels.std) + jnp.array(self.labels.mean)

    def choose(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """`thresholds` by view and tag with the best F1 on these outputs (multi-label only)."""
        names = self.labels.names
        return {
            "thresholds": {
                view: metrics.best_thresholds(*self.tracks(outputs, view, aggregate)[1:], names)
                for view in self.views
            }
        }

    def summarize(
        self,
        outputs: Mapping[str, np.ndarray],
        aggregate: str,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> dict:
        """Metrics of each view over a split, chunks aggregated into tracks; none without labels.

        Args:
            outputs: Of `predict`, with its labels (N, C), their mask and `record` (N,).
            aggregate: 'mean', 'max' or 'vote'.
            thresholds: Of `choose`, for tags; F1 at them is measured beside that at 0.5.
        """
        measure, summary = metrics.TASK_METRICS[self.labels.task], {}
        for view in self.views if outputs[self.fields[1]].any() else ():
            chosen = {"thresholds": thresholds[view]} if thresholds else {}
            _, *tracks = self.tracks(outputs, view, aggregate)
            summary[view] = measure(*tracks, self.labels.names, **chosen)
        return summary

    def tracks(
        self, outputs: Mapping[str, np.ndarray], view: str, aggregate: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers (R,), scores and truth (R, C) of the labelled records, as `summarize` has them.

        Args:
            outputs: See `summarize`.
            view: One of `views`.
            aggregate: See `summarize`.
        """
        labels, label_mask = (outputs[name] for name in self.fields)
        keep = label_mask > 0
        record, labels = outputs["record"][keep], labels[keep]
        if self.labels.task == "regression":
            labels = labels * np.array(self.labels.std) + np.array(self.labels.mean)
        records, scores = aggregate_tracks(outputs[view][keep], record, aggregate)
        return records, scores, aggregate_tracks(labels, record, "mean")[1]

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """Each label in the first view: a table, and confusion matrix or curves."""
        view, names = self.views[0], self.labels.names
        if view not in summary:
            return [], []
        entry = summary[view]
        classes = entry["per_target" if self.labels.task == "regression" else "per_class"]
        columns = list(next(iter(classes.values())))
        rows = [[name, *(values[column] for column in columns)] for name, values in classes.items()]
        what = f"{self.labels.name}: " if self.labels.name else ""
        title = f"{what}each label, {view.replace('_', ' + ')}"
        tables = [Table(title[0].upper() + title[1:], ["label", *columns], rows)]
        figures, numbers = [], fonts.legend(names)
        if self.labels.task == "single_label":
            png = plots.confusion_matrix(entry["confusion_matrix"], names)
            note = f"Rows are the truth. {numbers}".strip()
            figures.append(Figure(f"{what}Confusion matrix", png, note))
        if self.labels.task != "regression":
            _, scores, truth = self.tracks(outputs, view, aggregate)
            found = entry["calibration"]
            note = f"{CALIBRATED[self.labels.task]} Expected calibration error {found['ece']:.3f}."
            figures.append(Figure(f"{what}Calibration", curves.reliability(found["bins"]), note))
            png = plots.per_class_bars(classes, "f1")
            figures.append(Figure(f"{what}F1 by label", png, numbers))
            if any(0 < column.sum() < len(column) for column in truth.T):
                figures.append(Figure(f"{what}ROC", plots.roc_curves(scores, truth, names)))
        return tables, figures

    def answer(
        self,
        outputs: Mapping[str, np.ndarray],
        given: tuple[str, ...],
        aggregate: str,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> dict:
        """`prediction` and, for labels, `probabilities` by name; of several tasks, by theirs.

        The view is that of the modalities given, or else the one that is nearest; where none has
        any of them there is no answer. Tags are predicted from their thresholds (see `choose`) on,
        or else from 0.5.
        """
        view = self.view(given)
        if view is None:
            return {}
        _, tracks = aggregate_tracks(outputs[view], np.zeros(len(outputs[view]), int), aggregate)
        by_name = dict(zip(self.labels.names, map(float, tracks[0]), strict=True))
        answer = self._decided(by_name, (thresholds or {}).get(view, {}))
        return {self.labels.name: answer} if self.labels.name else answer

    def _decided(self, by_name: dict[str, float], limits: Mapping[str, float]) -> dict:
        if self.labels.task == "regression":
            return {"prediction": by_name}
        if self.labels.task == "multi_label":
            tags = [n for n, value in by_name.items() if value >= limits.get(n, metrics.THRESHOLD)]
            return {"prediction": tags, "probabilities": by_name}
        return {"prediction": max(by_name, key=by_name.get), "probabilities": by_name}

    def chunk_scores(
        self, outputs: Mapping[str, np.ndarray], given: tuple[str, ...]
    ) -> np.ndarray | None:
        """The probabilities that `answer` aggregates (N, C); None of numbers and several tasks."""
        view = self.view(given)
        if self.labels.task == "regression" or self.labels.name or view is None:
            return None
        return outputs[view]

    def view(self, given: tuple[str, ...]) -> str | None:
        """The nearest to the modalities given, of those that have any of them."""
        fitting = [view for view in self.views if MODALITIES[view] & set(given)]
        return min(fitting, key=lambda view: len(MODALITIES[view] ^ set(given)), default=None)
