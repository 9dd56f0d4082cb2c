"""The flags with the sizes of a step; what none is given for is the config's."""

import ml_collections
from absl import flags

from benchmarks import contracts

BATCH = flags.DEFINE_integer("batch", None, "Clips of a step.")
SEGMENTS = flags.DEFINE_integer("segments", None, "Of a clip.")
MELS = flags.DEFINE_integer("mels", None, "Bands of a log-mel.")
FRAMES = flags.DEFINE_integer("frames", None, "Of a segment; else by the config's seconds.")
TEXT = flags.DEFINE_integer("text", None, "Tokens of a text.")


def sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config with the sizes that the flags give."""
    for part, name, flag in (
        ("train", "batch_size", BATCH),
        ("segmenting", "segments", SEGMENTS),
        ("spectrogram", "n_mels", MELS),
        ("text", "max_tokens", TEXT),
    ):
        if flag.value:
            config[part][name] = flag.value
    if FRAMES.value:
        contracts.set_frames(config, FRAMES.value)
    return config


def as_flags(config: ml_collections.ConfigDict) -> list[str]:
    """The sizes of a config as these flags."""
    (segments, mels, frames) = contracts.log_mel_shape(config)
    sizes = (config.train.batch_size, segments, mels, frames, config.text.max_tokens)
    flags_of_sizes = (BATCH, SEGMENTS, MELS, FRAMES, TEXT)
    return [f"--{flag.name}={size}" for flag, size in zip(flags_of_sizes, sizes, strict=True)]
