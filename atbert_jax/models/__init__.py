"""The model families; `build` makes the one that a config names."""

import ml_collections
from flax import nnx

from atbert_jax.models.atbert import ATBERT
from input_pipeline.contract import Contract

MODELS = {"atbert": ATBERT}


def build(config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs) -> nnx.Module:
    """The trunk that `config.model.name` names.

    Raises:
        ValueError: if there is no such model; the message lists those there are.
    """
    name = config.model.name
    if name not in MODELS:
        raise ValueError(f"config.model.name={name!r} is none of {', '.join(sorted(MODELS))}")
    return MODELS[name](config.model, contract, rngs=rngs)
