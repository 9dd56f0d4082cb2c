"""A music tagger on single notes of instruments: a small set, trained in minutes on a CPU.

atbert train --config tagger_notes:musicnn --workdir runs/notes_musicnn \
    --config.data.manifest=notes.csv
"""

import ml_collections

from atbert_jax.configs import tagger, words

# What networks need that cannot do with two seconds, which hold what tells an instrument.
SECONDS = {"fcn": 20.5, "harmonic_cnn": 4.6, "sample_cnn": 3.7, "se_cnn": 3.7}
# Its recurrent layers learn late; a step is cheap.
STEPS = {"crnn": 1200}
# The published one: at ten times that it learns nothing.
RATES = {"self_attention": 1e-4}


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """One of the networks by its name, with the modern recipe and two seconds of each note."""
    (name,) = words.read(given, network=(tagger.PUBLISHED, "musicnn"))
    config = tagger.get_config(f"{name},modern")
    config.data.task = "single_label"
    config.segmenting.seconds = SECONDS.get(name, 2.1)
    config.evaluation.best_metric = "classification/audio/accuracy"
    config.augmentation.gain_db = 6.0
    # A few epochs in small batches underfit: what is meant against overfitting would hinder them.
    config.classification.update({"mixup": 0.0, "dropout": 0.1})
    config.tagger.update({"frequency_masks": 0, "time_masks": 0})
    config.tagger.update({"dropout": 0.1, "attention_dropout": 0.0})
    config.train.batch_size = 8
    config.train.steps = STEPS.get(name, 400)
    config.train.evaluate_every = 80
    config.optimizer.learning_rate = RATES.get(name, 1e-3)
    config.optimizer.warmup_steps = 20 / config.train.steps
    return config
