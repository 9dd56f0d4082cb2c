"""The model families; `build` makes the one that a config names."""

import ml_collections
from flax import nnx

from atbert_jax.models import taggers
from atbert_jax.models.atbert import ATBERT
from atbert_jax.models.crossmodal import CrossModal
from atbert_jax.models.m3bert import M3BERT
from atbert_jax.models.mulap import MuLaP
from atbert_jax.models.taggers.tagger import Tagger
from input_pipeline.contract import Contract

MODELS = {"atbert": ATBERT, "crossmodal": CrossModal, "m3bert": M3BERT, "mulap": MuLaP}
MODELS |= dict.fromkeys(taggers.NETWORKS, Tagger)


def build(config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs) -> nnx.Module:
    """The trunk that `config.model.name` names.

    Raises:
        ValueError: if there is no such model (the message lists those there are), or the batches do
            not carry what it hears.
    """
    name = config.model.name
    if name not in MODELS:
        raise ValueError(f"config.model.name={name!r} is none of {', '.join(sorted(MODELS))}")
    return MODELS[name](config, contract, rngs=rngs)


def hears_any_length(name: str) -> bool:
    """Whether segments of a model may have any number of samples."""
    return getattr(MODELS[name], "any_length", False)
