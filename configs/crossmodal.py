"""Emotions in speech from MFCCs and BERT: the cross-modal transformer, or one half of it.

atbert train --config crossmodal:text --workdir runs/words \
    --config.data.manifest=speech.csv --config.init.text=converted/bert
atbert train --config crossmodal:audio_text --workdir runs/both \
    --config.data.manifest=speech.csv --config.init_from=runs/words
"""

import ml_collections

from atbert_jax.configs import defaults, words

MODALITIES = {"audio_text": ("audio", "text"), "audio": ("audio",), "text": ("text",)}
# Of BERT-base, and of one that learns from a few hundred recordings' own texts.
BERT = {"hidden": 768, "heads": 12, "layers": 12, "ffn": 3072}
SMALL_BERT = {"hidden": 128, "heads": 4, "layers": 2, "ffn": 512}


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Speech of 5 seconds, 400 frames, with what is said, as published.

    With both, BERT is frozen: it comes from `config.init.text`, or has learned the labels from text
    alone in the run that `config.init_from` names.

    Args:
        given: What the model gets, 'audio_text', 'audio' or 'text'; and 'small' for a few hundred
            recordings: a small BERT starts anew, and batches are small.
    """
    view, size = words.read(given, view=(MODALITIES, "audio_text"), size=(("small",), ""))
    config = defaults.get_config("base")
    config.model.name = "crossmodal"
    config.model.update(SMALL_BERT if size else BERT)
    config.model.activation = "gelu"
    config.crossmodal.modalities = MODALITIES[view]
    config.objectives.classification = 1.0
    config.classification.views = (view,)
    config.classification.head = "linear" if view == "text" else "residual"
    config.data.task = "single_label"
    config.data.input = "waveform"
    hear(config)
    config.text.max_tokens = 64
    config.text.vocabulary = 2000
    config.evaluation.best_metric = "loss"
    config.scratch_twin = False
    learn(config)
    if size:
        config.train.update({"steps": 300, "batch_size": 16, "evaluate_every": 60})
        config.optimizer.warmup_steps = 0.2
    elif view == "text":
        fine_tune(config)
    elif view == "audio_text":
        config.optimizer.frozen = ("^model/text_encoder/",)
        # A run on text alone has learned BERT, and all else starts anew.
        config.init_allow_mismatch = ("^model/(?!text_encoder/)", "^objectives/")
    return config


def hear(config: ml_collections.ConfigDict) -> None:
    """MFCCs as torchaudio makes them, which are of 25 ms, 12.5 ms apart, at 16 kHz."""
    config.spectrogram.update(
        {
            "sample_rate": 16_000,
            "n_fft": 400,
            "hop_length": 200,
            "n_mels": 128,
            "mel_scale": "htk",
            "log_floor": 1e-10,
        }
    )
    config.segmenting.update({"segments": 1, "seconds": 5.0})
    config.normalization = "none"


def learn(config: ml_collections.ConfigDict) -> None:
    """Ten epochs of the published 8278 recordings; the rate warms up in the first of them.

    Published are a warm-up and a plateau that never act, and rates of 1e-5 to 1e-3.
    """
    config.train.update({"steps": 1300, "batch_size": 64, "evaluate_every": 130})
    config.optimizer.update(
        {
            "name": "adam",
            "b2": 0.999,
            "learning_rate": 1e-3,
            "clip_norm": 0.8,
            "warmup_steps": 0.1,
        }
    )


def fine_tune(config: ml_collections.ConfigDict) -> None:
    """All of BERT, as published."""
    config.optimizer.update(
        {
            "name": "adamw",
            "learning_rate": 2e-5,
            "weight_decay": 0.01,
            "schedule": "linear",
            "clip_norm": 1.0,
        }
    )
