"""Pre-train M3BERT on musical features by masked acoustic modelling.

atbert extract tracks.csv features
atbert train --config m3bert_pretrain \
    --workdir runs/m3bert --config.data.manifest=features/manifest.csv
"""

import ml_collections

from atbert_jax.configs import defaults, words


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Three layers of 768 ('base'), or all layers of 'small' or 'tiny'.

    The settings of 'base' are Mockingjay's, from which M3BERT was made, but for batches of 12 where
    it has 6: its own are not published.
    """
    (size,) = words.read(given, size=(defaults.PRESETS, "base"))
    config = defaults.get_config(size)
    if size == "base":
        config.model.layers = 3
    set_up(config)
    config.objectives.masked_acoustic = 1.0
    config.evaluation.best_metric = "loss"
    config.train.steps = 500_000
    config.train.batch_size = 12
    config.train.evaluate_every = 5000
    config.optimizer.update(
        {"learning_rate": 4e-4, "schedule": "linear", "b2": 0.999, "weight_decay": 0.01}
    )
    config.optimizer.warmup_steps = 0.07
    if size == "tiny":
        config.segmenting.seconds = 10.0
        config.train.update({"steps": 1000, "batch_size": 16, "evaluate_every": 200})
        config.optimizer.learning_rate = 1e-3
    return config


def set_up(config: ml_collections.ConfigDict) -> None:
    """The model, and that it hears 30 seconds of frames."""
    config.model.name = "m3bert"
    config.model.sharing = "none"
    config.model.activation = "gelu"
    config.data.input = "frames"
    config.data.text_column = ""  # captions are not heard
    config.text.max_tokens = 3
    config.segmenting.update({"segments": 1, "seconds": 30.0})
    config.evaluation.batch_size = 16
