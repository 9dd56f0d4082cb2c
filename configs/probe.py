"""A linear model on what frozen models hear, fitted in seconds.

atbert probe --config probe --workdir runs/probe --config.data.manifest=tracks.csv converted/yamnet
"""

import ml_collections

from atbert_jax.configs import defaults, words

TASKS = ("single_label", "multi_label", "regression")


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Of one label a clip; or the word behind the colon: 'multi_label' or 'regression'."""
    (task,) = words.read(given, task=(TASKS, "single_label"))
    config = defaults.get_config("tiny")
    config.model.name = "probe"
    config.objectives.classification = 1.0
    config.classification.update({"views": ("audio",), "head": "linear", "dropout": 0.0})
    config.data.task = task
    config.data.input = "waveform"
    config.data.text_column = ""  # captions are not heard
    config.text.max_tokens = 3
    # Of what is heard at most at a time; longer clips are several chunks.
    config.segmenting.update({"segments": 1, "seconds": 30.0})
    config.normalization = "none"
    config.evaluation.batch_size = 8
    return config
