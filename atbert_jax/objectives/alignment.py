"""Alignment: the summary of a clip is nearer to that of its own text than to those of others.

The symmetric InfoNCE of CLIP (Radford et al. 2021), on the uni-modal summaries and without
projections, so that it shapes the very states that the joint encoder reads. Deciding on pairs from
scratch starts on a long plateau; aligning before fusing (ALBEF, Li et al. 2021, section 3) leads
off it, and the summaries serve as embeddings for retrieval.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import unit
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.correct_pair import complete_rows
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.objectives.views import AUDIO, TEXT, encode_views

DEFAULTS = {"temperature": 0.1}  # initial; it is learned


def summaries(model: Trunk, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Uni-modal summaries (B, D) of clips and of texts, of length 1; key None is evaluation."""
    views = encode_views(model, batch, (AUDIO, TEXT), key)
    return unit(views[AUDIO].hidden[:, 0]), unit(views[TEXT].hidden[:, 0])


class Alignment(Objective):
    """Contrasts each clip with all texts of the global batch, and each text with all clips.

    Args:
        config: `config.alignment`, see `defaults`.
        contract: Not used.
        trunk: Not used; there are no projections.
        rngs: Not used.
    """

    needs_streams, needs_one_space = False, True
    defaults = DEFAULTS

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        trunk: Trunk,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        del contract, trunk, rngs
        # Not weakly typed, as a Python number would be: the step would be compiled twice.
        self.log_scale = nnx.Param(jnp.log(jnp.float32(1.0 / config.temperature)))

    @property
    def scale(self) -> jax.Array:
        """What cosines are multiplied with: never sharper than a hundredth, as in CLIP."""
        return jnp.exp(jnp.minimum(self.log_scale[...], jnp.log(100.0)))

    def _similarities(self, model: Trunk, batch: Batch, key: jax.Array | None) -> jax.Array:
        """Scaled cosines (B, B), clips in rows and texts in columns."""
        audio, text = summaries(model, batch, key)
        return self.scale * (audio @ text.T)

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """Mean of the cross entropies over texts and over clips.

        Rows without a clip or a text take no part; a text that reads like the true one is no
        negative.

        Args:
            model: The trunk.
            batch: `log_mel`, `token_ids` and their masks.
            key: Of the dropout; None = evaluation.

        Returns:
            (sum, weight) over the complete rows, and the metric `accuracy` of finding the text.
        """
        scores = self._similarities(model, batch, key)
        complete = complete_rows(batch)
        ids = batch["token_ids"]
        same = (ids[:, None] == ids[None]).all(axis=-1)
        own = jnp.eye(len(ids), dtype=bool)
        allowed = own | ((complete[:, None] * complete[None] > 0) & ~same)
        scores = jnp.where(allowed, scores, -1e9)
        losses = -0.5 * (
            jnp.diagonal(jax.nn.log_softmax(scores, axis=0))
            + jnp.diagonal(jax.nn.log_softmax(scores, axis=1))
        )
        hits = scores.argmax(axis=1) == jnp.arange(len(ids))
        total = complete.sum()
        return ((losses * complete).sum(), total), {"accuracy": ((hits * complete).sum(), total)}

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`cosine` (B,) between each clip and its own text."""
        audio, text = summaries(model, batch, None)
        return {"cosine": (audio * text).sum(axis=-1)}

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """The mean cosine of true pairs."""
        del aggregate
        return {"cosine": float(outputs["cosine"].mean())}
