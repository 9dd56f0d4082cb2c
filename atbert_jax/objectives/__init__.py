"""Training objectives; each owns its head, its corruption, its loss and its metrics.

An objective is an `nnx.Module` with

* `corrupt(batch, key) -> batch`: adds or changes fields; evaluation does it too, with a fixed key;
* `loss(model, batch, key) -> (sum, weight), metrics`: scalars; metrics are (sum, weight) pairs;
  `key` drives dropout, and None is evaluation;
* `predict(model, batch) -> outputs`: arrays (B, ...) for `summarize`;
* `summarize(outputs, aggregate) -> metrics`: from the numpy outputs (N, ...) of a whole split,
  with `record`, `labels` and `label_mask`;
* `report(outputs, metrics, aggregate) -> tables, figures`: what a reader wants to see of them;
* `answer(outputs, given, aggregate) -> dict`: what `predict` says of one file, from the outputs of
  its chunks; `given` are the modalities there are, 'audio' and 'text'.

Where something has to be chosen on validation data before others are measured, `chooses` is true,
and `choose(outputs, aggregate) -> settings` gives keyword arguments of `summarize` and `answer`.
"""

import ml_collections
from flax import nnx

from atbert_jax.objectives.alignment import Alignment
from atbert_jax.objectives.classification import Classification
from atbert_jax.objectives.correct_pair import CorrectPair
from atbert_jax.objectives.masked_embedding import MaskedEmbedding
from atbert_jax.objectives.masked_language import MaskedLanguage
from input_pipeline.contract import Contract

OBJECTIVES = {
    "alignment": Alignment,
    "classification": Classification,
    "correct_pair": CorrectPair,
    "masked_embedding": MaskedEmbedding,
    "masked_language": MaskedLanguage,
}


def build(
    config: ml_collections.ConfigDict, contract: Contract, trunk: nnx.Module, *, rngs: nnx.Rngs
) -> nnx.Dict:
    """The objectives that `config.objectives` gives a weight, by name.

    Args:
        config: The whole config; `config.<name>` holds an objective's own settings.
        contract: Label names and task.
        trunk: The model, whose widths the heads take.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such objective; the message lists those there are.
    """
    unknown = sorted(set(config.objectives) - set(OBJECTIVES))
    if unknown or not config.objectives:
        raise ValueError(
            f"config.objectives names {unknown or 'nothing'}; choose from {sorted(OBJECTIVES)}"
        )
    return nnx.Dict(
        {
            name: OBJECTIVES[name](config[name], contract, trunk, rngs=rngs)
            for name in sorted(config.objectives)
        }
    )
