"""What every training objective is; each owns its head, its corruption, its loss and its report."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import nnx

from atbert_jax.models.trunk import Batch, Trunk
from atbert_jax.objectives.views import VIEWS
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

# (sum, weight) of a loss or a metric: reduced once, over the global batch.
Mean = tuple[jax.Array, jax.Array]


class Objective(nnx.Module):
    """An objective; methods that it does not override do nothing, or are not supported.

    It is made as `Objective(config, contract, trunk, rngs=rngs)`, with its own part of the config,
    which has its `defaults`, and the model (see `Trunk`), whose widths its head takes.

    Where something has to be chosen on validation data before others are measured, `chooses` is
    true, and `choose(outputs, aggregate) -> settings` gives keyword arguments of `summarize` and
    `answer`. `needs_text` is false if it works without text, `needs_streams` if it uses nothing of
    the trunk but the summary of each view, and `needs_one_space` is true if it compares those of
    audio with those of text; `draws` is true if it has `pictures`. `views` are those
    that it learns from, of what the trunk has.
    """

    chooses = False
    draws = False
    needs_text = True
    needs_streams = True
    needs_one_space = False
    defaults: Mapping[str, Any] = MappingProxyType({})
    views: tuple[str, ...] = VIEWS

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds or changes fields of a batch; evaluation does it too, with a fixed key."""
        del key
        return batch

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """The loss and metrics of a batch.

        Args:
            model: The trunk.
            batch: After `corrupt`.
            key: Of the dropout; None = evaluation.
        """
        raise NotImplementedError

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """Arrays (B, ...) for `summarize`."""
        raise NotImplementedError

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """Metrics of a whole split.

        Args:
            outputs: What `predict` gave (N, ...), with `record`, `labels` and `label_mask`.
            aggregate: How chunks become tracks: 'mean', 'max' or 'vote'.
        """
        raise NotImplementedError

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """What a reader wants to see of `outputs`, of which `summarize` gave `summary`."""
        del outputs, summary, aggregate
        return [], []

    def pictures(self, model: Trunk, batch: Batch) -> Batch:
        """What it does to a few clips as pictures (B, H, W) by name, the first row on the bottom.

        Args:
            model: The trunk.
            batch: After `corrupt`.
        """
        del model, batch
        return {}

    def answer(
        self, outputs: Mapping[str, np.ndarray], given: tuple[str, ...], aggregate: str
    ) -> dict:
        """The answer of `predict` for one file, from the outputs of its chunks.

        Args:
            outputs: Of `predict`, a row for each chunk.
            given: The modalities there are, 'audio' and 'text'.
            aggregate: How chunks become one answer.
        """
        del outputs, given, aggregate
        return {}

    def chunk_scores(
        self, outputs: Mapping[str, np.ndarray], given: tuple[str, ...]
    ) -> np.ndarray | None:
        """Probabilities (N, C) of the contract's labels in each chunk, if it has them.

        Args:
            outputs: Of `predict`, a row for each of N chunks.
            given: The modalities there are, 'audio' and 'text'.
        """
        del outputs, given
        return None
