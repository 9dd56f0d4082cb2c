"""Every config field, once: what each model, objective and stage declares beside its code.

Experiments change what they need. A field is explained where its section comes from: `config.train`
in `training/loop.py`, that of an objective or a model in its own file.
"""

import dataclasses

import ml_collections
from ml_collections import config_dict

from atbert_jax import choices
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.batching.augmentation import Augmentation
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models import MODELS
from atbert_jax.objectives import OBJECTIVES
from atbert_jax.parallel import sharding
from atbert_jax.training import converted, loop, optimizer, transfer, validation

SIZES = ("depths", "width", "hidden", "heads", "layers", "ffn", "embedding")
PRESETS = {
    name: dict(zip(SIZES, sizes, strict=True))
    for name, sizes in {
        "tiny": ((1, 1, 1, 1), 16, 128, 4, 2, 256, 64),
        "small": ((2, 2, 2, 2), 32, 256, 4, 6, 1024, 128),
        "base": ((3, 4, 6, 3), 64, 768, 12, 12, 3072, 128),
    }.items()
}


def get_config(preset: str = "base") -> ml_collections.ConfigDict:
    """The defaults.

    Args:
        preset: Size of the model: 'tiny' (minutes on a CPU), 'small' or 'base' (ALBERT-base).

    Raises:
        ValueError: if there is no such preset.
    """
    choices.require("preset", preset, PRESETS)
    config = ml_collections.ConfigDict({"seed": 0})

    for model in dict.fromkeys(MODELS.values()):
        config.update(dict(model.defaults))
    config.model.update(PRESETS[preset])

    # Objectives by weight; None is off, and one of weight 0 is only measured. Beside them may stand
    # the name of one of data.tasks, for a classification of its labels with the settings of
    # `classification`.
    config.objectives = {name: config_dict.placeholder(float) for name in OBJECTIVES}
    for name, objective in OBJECTIVES.items():
        config[name] = dict(objective.defaults)

    config.update(transfer.DEFAULTS)
    config.init = converted.DEFAULTS

    config.data = dataset.DEFAULTS
    config.spectrogram = dataclasses.asdict(Spectrogram())
    config.features = dataclasses.asdict(MusicFeatures())  # of data.input='frames'
    config.segmenting = dataclasses.asdict(Segmenting())
    config.normalization = Normalization().kind
    config.text = tokenization.DEFAULTS
    config.augmentation = dataclasses.asdict(Augmentation())

    config.train = loop.DEFAULTS
    config.sharding = sharding.DEFAULTS
    config.optimizer = optimizer.DEFAULTS
    config.evaluation = validation.DEFAULTS
    return config
