"""Train a CLAP on pairs of sound and text, from scratch or from a published one.

atbert train --config clap_pretrain:larger --workdir runs/my_clap \
    --config.data.manifest=tracks.csv --config.init_from=runs/clap

`runs/clap` is what `atbert convert clap` has made of laion/larger_clap_music; without
`--config.init_from` all starts anew.
"""

import ml_collections

from atbert_jax.configs import defaults, tagger, words

# LAION's, by the names of its models (Wu et al. 2023): clap-htsat-unfused, clap-htsat-fused, and
# larger_clap_music like larger_clap_general. RoBERTa is of the size of BERT-base.
PUBLISHED = {
    "unfused": {"fused": False},
    "fused": {"fused": True},
    "larger": {"patch_width": 128, "depths": (2, 2, 12, 2)},
}
TINY = {"patch_width": 16, "depths": (1, 1, 1, 1), "heads": (2, 4, 8, 16), "projection": 64}
SIZES = ("tiny", *PUBLISHED)
# With fusion, clips up to so many segments are heard as a whole.
SEGMENTS = 6


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Which text is this clip's, among all of the batch, and which clip this text's.

    The optimizer is that of LAION's scripts: Adam with a long warm-up, no weight decay, and two
    masks each over bands and frames. Batches there are 24 times as large as here.

    Args:
        given: The size, 'unfused', 'fused' or 'larger', as published, or 'tiny'.
    """
    (size,) = words.read(given, size=(SIZES, "unfused"))
    config = defaults.get_config("tiny" if size == "tiny" else "base")
    if size == "tiny":
        defaults.take_little_memory(config)
    set_up(config, size)
    config.text.max_tokens = 77
    config.objectives.alignment = 1.0
    config.alignment.temperature = 0.07
    config.evaluation.best_metric = "loss"
    config.tagger.update({"frequency_masks": 2, "frequency_mask_size": 0.125})
    config.tagger.update({"time_masks": 2, "time_mask_size": 0.064})
    config.optimizer.update({"name": "adam", "b2": 0.999, "weight_decay": 0.0})
    if size == "tiny":
        config.text.update({"vocabulary": 2000, "max_tokens": 32})
        config.train.update({"steps": 1000, "evaluate_every": 100})
        config.optimizer.learning_rate = 1e-3
    else:
        config.train.batch_size = 96
        config.optimizer.warmup_steps = 0.25
        config.evaluation.batch_size = 16
    return config


def set_up(config: ml_collections.ConfigDict, size: str) -> None:
    """The model of a size, and that it hears ten seconds, or with fusion up to a minute."""
    config.model.name = "clap"
    config.model.activation = "gelu"
    config.clap.update(TINY if size == "tiny" else PUBLISHED[size])
    config.data.input = "waveform"
    tagger.hear(config, tagger.PUBLISHED["htsat"])
    if config.clap.fused:
        config.segmenting.segments = SEGMENTS
        config.spectrogram.mel_scale = "htk"  # as in torchaudio; without fusion, as in librosa
