"""The model families; `build` makes the one that a config names."""

import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import taggers
from atbert_jax.models.atbert import ATBERT
from atbert_jax.models.caption_probe import CaptionProbe
from atbert_jax.models.clap import CLAP
from atbert_jax.models.crossmodal import CrossModal
from atbert_jax.models.linear_probe import Probe
from atbert_jax.models.m3bert import M3BERT
from atbert_jax.models.mulap import MuLaP
from atbert_jax.models.taggers.tagger import Tagger
from atbert_jax.models.trunk import Trunk

MODELS: dict[str, type[Trunk]] = dict.fromkeys(taggers.NETWORKS, Tagger)
MODELS |= {
    "atbert": ATBERT,
    "caption_probe": CaptionProbe,
    "clap": CLAP,
    "crossmodal": CrossModal,
    "m3bert": M3BERT,
    "mulap": MuLaP,
    "probe": Probe,
}


def trunk_class(name: str) -> type[Trunk]:
    """The class of the model of this name.

    Raises:
        ValueError: if there is none; the message lists those there are.
    """
    return MODELS[choices.require("config.model.name", name, sorted(MODELS))]


def build(config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs) -> Trunk:
    """The trunk that `config.model.name` names.

    Raises:
        ValueError: if there is no such model, or the batches do not carry its input.
    """
    return trunk_class(config.model.name)(config, contract, rngs=rngs)
