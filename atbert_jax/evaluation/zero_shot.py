"""Zero-shot classification: which label's text goes best with a clip?

Nothing is trained on the labels. Where mismatched texts are drawn at random as often as matching
ones, the logit of Correct Pair Prediction estimates log p(text | clip) / p(text), and so does the
scaled cosine of InfoNCE up to a constant of the clip (van den Oord et al. 2018, section 2.3). The
softmax of either over the labels is therefore the probability of each where all are equally likely
beforehand.
"""

from collections.abc import Mapping, Sequence

import jax
import lazy_loader as lazy
import numpy as np
from flax import nnx
from scipy.special import softmax

from atbert_jax import objectives
from atbert_jax.evaluation.matching import COSINE, PAIR, Stream, compare, encode_text
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.progress import track
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.metrics.aggregation import aggregate
from atbert_jax.reporting.report import Figure, Section
from atbert_jax.reporting.tables import Table
from atbert_jax.training import validation
from atbert_jax.training.learner import Batch
from atbert_jax.training.step import KEPT
from atbert_jax.training.trained import Trained

# Scikit-learn and Matplotlib take seconds to import, which predicting can do without.
metrics = lazy.load("atbert_jax.metrics.scores", suppress_warning=True)
plots = lazy.load("atbert_jax.reporting.plots", suppress_warning=True)

NAME = "zero_shot"
# Ways to compare, the one that answers first.
WAYS = {PAIR: "pair head", COSINE: "cosine of summaries"}


class ZeroShot:
    """Labels as texts, encoded once.

    Args:
        model: From `trained.load`.
        labels: C different names.
        template: The text of a label, with {} in the place of its name.

    Raises:
        ValueError: if the model has not learned to compare clips with texts, or the labels or the
            template cannot be used; the message names them.
    """

    def __init__(self, model: Trained, labels: Sequence[str], template: str = "{}") -> None:
        learned = objectives.named(model.config)
        self.ways = [way for way in WAYS if way in learned]
        if not self.ways:
            raise ValueError(
                f"{model.workdir} was trained on {', '.join(learned)}, which compares no clip with"
                f" a text; zero-shot labels need a checkpoint of {' or '.join(WAYS)}"
            )
        if "{}" not in template:
            raise ValueError(f"template {template!r} has no {{}} for the label")
        self.labels, self.template = tuple(labels), template
        if len(self.labels) < 2:
            raise ValueError(f"to choose from labels takes two or more, not {list(self.labels)}")
        texts = [template.replace("{}", label) for label in self.labels]
        ids, mask = tokenization.tokenize(model.tokenizer, texts, model.contract.max_tokens)
        self._require_different(ids, mask)

        @jax.jit
        def encode(params: dict, statistics: dict, batch: Batch) -> Stream:
            return encode_text(nnx.merge(model.definition, params, statistics).model, batch)

        batch = {"token_ids": ids, "token_mask": mask}
        self.texts = encode(model.params, model.statistics, batch)

    def _require_different(self, ids: np.ndarray, mask: np.ndarray) -> None:
        known: dict[bytes, int] = {}
        for number, label in enumerate(self.labels):
            if not mask[number].any():
                raise ValueError(f"label {label!r}: the model reads no text in it")
            first = known.setdefault(ids[number].tobytes(), number)
            if first != number:
                raise ValueError(
                    f"labels {self.labels[first]!r} and {label!r} read the same to the model"
                )

    def answer(self, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Probabilities by label, from the outputs of `compare` on the chunks of one clip.

        The pair head decides where there is one, else the cosine; the mean over the chunks.
        """
        scores = outputs[self.ways[0]].astype(np.float64).mean(axis=0)
        return dict(zip(self.labels, map(float, softmax(scores)), strict=True))


def of_dataset(model: Trained, dataset: Dataset, template: str) -> ZeroShot:
    """The labels of a data set.

    Raises:
        ValueError: if a record can have several, or they cannot be used as texts.
    """
    labels = dataset.contract.labels
    if labels.task != "single_label":
        raise ValueError(
            f"zero-shot evaluation chooses one label; config.data.task is {labels.task!r}"
        )
    return ZeroShot(model, labels.names, template)


def measure(model: Trained, zero_shot: ZeroShot, dataset: Dataset, split: str) -> Section:
    """Measures the classification of a split by the texts of its labels.

    Chance is a label drawn at random for each record; its macro F1 is that of many records.

    Args:
        model: From `trained.load`.
        zero_shot: From `of_dataset`.
        dataset: With the labels.
        split: 'train', 'val' or 'test'.

    Returns:
        By way to compare ('correct_pair', 'alignment') what `metrics.single_label` says, and
        `chance` and `commonest` with accuracy and macro_f1; a table and a confusion matrix.

    Raises:
        ValueError: if no readable record of the split has a label.
    """
    names = zero_shot.labels
    outputs = _outputs(model, dataset, split, zero_shot.texts)
    keep = outputs["label_mask"] > 0
    if not keep.any():
        raise ValueError(f"no readable record of split {split!r} has a label to find")
    record = outputs["record"][keep]
    _, truth = aggregate(outputs["labels"][keep], record)
    values = {}
    for way in zero_shot.ways:
        _, scores = aggregate(outputs[way][keep], record)
        values[way] = metrics.single_label(softmax(scores, axis=1), truth, names)
    values |= known_beforehand(truth, names)
    titles = WAYS | {"chance": "chance", "commonest": "always the commonest label"}
    rows = [[titles[key], entry["accuracy"], entry["macro_f1"]] for key, entry in values.items()]
    note = f"Nothing was trained on the labels; the text of each is {zero_shot.template!r}."
    table = Table("Zero-shot labels", ["compared by", "accuracy", "macro_f1"], rows, note)
    first = values[zero_shot.ways[0]]["confusion_matrix"]
    figure = Figure("Zero-shot labels", plots.confusion_matrix(first, names), "Rows are the truth.")
    return Section(values, [table], [figure])


def known_beforehand(truth: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Accuracy and macro F1 of a random label, and of the commonest one, for truth (R, C)."""
    share = truth.mean(axis=0)
    # Of a random label, the share is the precision and 1 / C the recall.
    f1 = 2 * share / (len(names) * share + 1)
    always = metrics.single_label(np.broadcast_to(share, truth.shape), truth, names)
    return {
        "chance": {"accuracy": 1 / len(names), "macro_f1": float(f1[share > 0].mean())},
        "commonest": {key: always[key] for key in ("accuracy", "macro_f1")},
    }


def _outputs(model: Trained, dataset: Dataset, split: str, texts: Stream) -> dict[str, np.ndarray]:
    """Scores (N, C) of all chunks by way to compare, with `record`, `labels` and `label_mask`."""
    # TensorFlow is needed here, where a split is read, and not in `predict`.
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    @jax.jit
    def scores(params: dict, statistics: dict, batch: Batch, texts: Stream) -> Batch:
        learner = nnx.merge(model.definition, params, statistics)
        return compare(learner, learner.prepare(batch, jax.random.key(0)), texts)

    def step(batch: Batch) -> tuple[dict, dict, Batch]:
        found = scores(model.params, model.statistics, batch, texts)
        return {}, {NAME: found}, {name: batch[name] for name in KEPT}

    size = model.config.evaluation.batch_size
    batches = Batches(model.config, dataset, BadRecords(None))
    stream = batches.evaluation(split, size)
    stream = track(stream, "zero-shot labels", batches.steps(split, size), "batches")
    ((_, outputs),) = validation.answers([step], stream, model.mesh)
    return outputs[NAME]
