"""How taggers are trained: as they were published, as one would today, or as a noisy student."""

from collections.abc import Callable

import ml_collections


def published(config: ml_collections.ConfigDict) -> None:
    """Adam, then SGD three times, each from the best weights so far (Won et al. 2020).

    Adam at 1e-4 with decay within the gradient; SGD with Nesterov's momentum at 1e-3, 1e-4 and
    1e-5 from 80, 100 and 120 of 200 epochs on, which are shares of `config.train.steps` here. The
    momentum goes on when the rate falls. Batches of 16 clips without augmentation but the random
    crop; the best checkpoint is that of the lowest validation loss.
    """
    config.optimizer.update(
        {
            "name": "adam_sgd",
            "learning_rate": 1e-4,
            "b1": 0.9,
            "b2": 0.999,
            "weight_decay": 1e-4,
            "clip_norm": 0.0,
            "schedule": "steps",
            "warmup_steps": 0,
            "switch_at": (0.4, 0.5, 0.6),
            "switch_rates": (1e-3, 1e-4, 1e-5),
            "reload_best": True,
        }
    )
    config.train.batch_size = 16


def modern(config: ml_collections.ConfigDict) -> None:
    """AdamW with warm-up and cosine, SpecAugment within the model, and mixup of waveforms.

    `--config.model.dtype=bfloat16` is for accelerators; a CPU computes it more slowly.
    """
    config.optimizer.update(
        {
            "name": "adamw",
            "learning_rate": 1e-3,
            "b1": 0.9,
            "b2": 0.999,
            "weight_decay": 0.05,
            "clip_norm": 1.0,
            "schedule": "cosine",
            "warmup_steps": 0.05,
        }
    )
    config.train.batch_size = 32
    config.tagger.update({"frequency_masks": 2, "time_masks": 2})
    config.classification.mixup = 0.2


def noisy_student(config: ml_collections.ConfigDict) -> None:
    """A student of a teacher's labels: half of each batch is labelled, half pseudo-labelled.

    Two manifests are needed, `--config.data.manifest=labelled.csv,pseudo.jsonl`, of which
    `atbert pseudo_label` writes the second. Only what is pseudo-labelled is augmented, by the
    effects of the Music Tagging Transformer (Won et al. 2021) with their probabilities, in the
    order of `Examples`. Two are milder: the level of each clip changes by up to 6 dB, where a fifth
    of them lost 1 to 20 there, and noise is 6 to 36 dB below the signal, 6 to 10 there. Adam at
    1e-4.
    """
    config.optimizer.update(
        {
            "name": "adam",
            "learning_rate": 1e-4,
            "b1": 0.9,
            "b2": 0.999,
            "clip_norm": 0.0,
            "schedule": "constant",
            "warmup_steps": 0,
        }
    )
    config.train.batch_size = 32
    config.data.mixture = (1.0, 1.0)
    config.augmentation.update(
        {
            "soft_only": True,
            "polarity_probability": 0.8,
            "noise_probability": 0.3,
            "noise_snr_db": 6.0,
            "gain_db": 6.0,
            "pitch_probability": 0.4,
            "pitch_semitones": 7.0,
            "filter_probability": 0.8,
            "delay_probability": 0.5,
            "reverb_probability": 0.3,
        }
    )


RECIPES: dict[str, Callable[[ml_collections.ConfigDict], None]] = {
    "published": published,
    "modern": modern,
    "noisy_student": noisy_student,
}


def apply(config: ml_collections.ConfigDict, name: str) -> None:
    """Sets how a tagger is trained; no recipe changes what it is or hears.

    Args:
        config: Of a tagger, with `train.steps` as they shall be.
        name: One of `RECIPES`.
    """
    config.evaluation.best_metric = "loss"
    RECIPES[name](config)
