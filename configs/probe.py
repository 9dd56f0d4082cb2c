"""A linear model on what frozen models hear, fitted in seconds.

atbert probe --config probe --workdir runs/probe --config.data.manifest=tracks.csv converted/yamnet
"""

import ml_collections

from atbert_jax.configs import defaults, words

CAPTIONS = "captions"
LEARNED = ("single_label", "multi_label", "regression", CAPTIONS)


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Of one label a clip; or the word behind the colon: one of `LEARNED`."""
    (learned,) = words.read(given, learned=(LEARNED, "single_label"))
    config = defaults.get_config("tiny")
    config.data.input = "waveform"
    # Of what is heard at most at a time; longer clips are several chunks.
    config.segmenting.update({"segments": 1, "seconds": 30.0})
    config.normalization = "none"
    config.evaluation.batch_size = 8
    if learned == CAPTIONS:
        config.model.name = "caption_probe"
        config.objectives.alignment = 1.0
        config.evaluation.best_metric = "alignment/accuracy"
        config.text.max_tokens = 64
        return config
    config.model.name = "probe"
    config.objectives.classification = 1.0
    config.classification.update({"views": ("audio",), "head": "linear", "dropout": 0.0})
    config.data.task = learned
    config.data.text_column = ""  # captions are not heard
    config.text.max_tokens = 3
    return config
