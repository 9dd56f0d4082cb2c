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
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models import MODELS
from atbert_jax.objectives import OBJECTIVES
from atbert_jax.parallel import sharding
from atbert_jax.training import converted, loop, optimizer, transfer, validation

# Beside what the parts declare: the whole, and the sizes of a model, which presets change.
DEFAULTS = {
    "seed": 0,  # of initial values, the order of records, dropout and what splits draw
    "normalization": "dataset",  # of log-mels: by the training data's bands; or 'clip', 'none'
    "model": {
        "depths": (3, 4, 6, 3),  # blocks in each stage of the ResNet
        "width": 64,  # channels in the blocks of its first stage; each next one has twice as many
        "hidden": 768,  # width of the encoder's states
        "heads": 12,  # of its attention; they divide the width
        "layers": 12,  # of the encoder
        "ffn": 3072,  # inner width of its feed-forward blocks
        "embedding": 128,  # width of ATBERT's word embeddings
    },
}
BASE = DEFAULTS["model"]
PRESETS = {
    "tiny": dict(zip(BASE, ((1, 1, 1, 1), 16, 128, 4, 2, 256, 64), strict=True)),
    "small": dict(zip(BASE, ((2, 2, 2, 2), 32, 256, 4, 6, 1024, 128), strict=True)),
    "base": BASE,
}


def get_config(preset: str = "base") -> ml_collections.ConfigDict:
    """The defaults.

    Args:
        preset: Size of the model: 'tiny' (minutes on a CPU), 'small' or 'base' (ALBERT-base).

    Raises:
        ValueError: if there is no such preset.
    """
    choices.require("preset", preset, PRESETS)
    config = ml_collections.ConfigDict(DEFAULTS)

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
    config.text = tokenization.DEFAULTS
    config.augmentation = dataclasses.asdict(Augmentation())

    config.train = loop.DEFAULTS
    config.sharding = sharding.DEFAULTS
    config.optimizer = optimizer.DEFAULTS
    config.evaluation = validation.DEFAULTS
    return config


def take_little_memory(config: ml_collections.ConfigDict) -> None:
    """Sets batches of eight clips of four seconds: a training takes 2 GB then, and not 8."""
    config.train.batch_size = config.evaluation.batch_size = 8
    config.segmenting.segments = 4
    config.data.memory_mb = 64
