"""Training objectives, by the names that configs give them (see `objective.Objective`)."""

import dataclasses

import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.alignment import Alignment
from atbert_jax.objectives.classification import Classification
from atbert_jax.objectives.correct_pair import CorrectPair
from atbert_jax.objectives.masked_acoustic import MaskedAcoustic
from atbert_jax.objectives.masked_audio import MaskedAudio
from atbert_jax.objectives.masked_embedding import MaskedEmbedding
from atbert_jax.objectives.masked_language import MaskedLanguage

OBJECTIVES = {
    "alignment": Alignment,
    "classification": Classification,
    "correct_pair": CorrectPair,
    "masked_acoustic": MaskedAcoustic,
    "masked_audio": MaskedAudio,
    "masked_embedding": MaskedEmbedding,
    "masked_language": MaskedLanguage,
}


def named(config: ml_collections.ConfigDict) -> list[str]:
    """The objectives that `config.objectives` gives a weight, in order; None is no weight."""
    return sorted(name for name, weight in config.objectives.items() if weight is not None)


def build(
    config: ml_collections.ConfigDict, contract: Contract, trunk: Trunk, *, rngs: nnx.Rngs
) -> nnx.Dict:
    """The objectives that `config.objectives` gives a weight, by name.

    One of weight 0 is measured, but nothing is learned from it. The name of one of several tasks is
    that of a classification of its labels.

    Args:
        config: The whole config; `config.<name>` holds an objective's own settings.
        contract: Label names and task, or tasks.
        trunk: The model, whose widths the heads take.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such objective (the message lists those there are), or one needs
            text and the model is of audio alone, or streams and the model gives a summary alone.
    """
    tasks = {labels.name: labels for labels in contract.tasks}
    if clash := sorted(set(tasks) & set(OBJECTIVES)):
        raise ValueError(
            f"config.data.tasks.{clash[0]} has the name of an objective; give the task another one"
        )
    known = OBJECTIVES | dict.fromkeys(tasks, Classification)
    wanted = choices.require_some("config.objectives", named(config), sorted(known))
    lacking = [name for name in wanted if known[name].needs_text]
    if lacking and "text" not in trunk.modalities:
        raise ValueError(
            f"config.objectives names {', '.join(lacking)}, but config.model.name="
            f"{config.model.name!r} is a model of audio alone; use 'classification'"
        )
    lacking = [
        name
        for name in wanted
        if (known[name].needs_streams and not trunk.has_streams)
        or (known[name].needs_one_space and not trunk.has_one_space)
    ]
    if lacking:
        raise ValueError(
            f"config.objectives names {', '.join(lacking)}, but config.model.name="
            f"{config.model.name!r} has no streams to mask or compare; use 'classification'"
        )

    def make(name: str) -> nnx.Module:
        if name in tasks:
            own = dataclasses.replace(contract, labels=tasks[name])
            return Classification(config.classification, own, trunk, rngs=rngs)
        return OBJECTIVES[name](config[name], contract, trunk, rngs=rngs)

    return nnx.Dict({name: make(name) for name in wanted})
