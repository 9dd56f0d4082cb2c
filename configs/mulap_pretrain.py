"""Pre-train MuLaP on pairs of music and text, as it was published.

atbert train --config mulap_pretrain:tiny --workdir runs/mulap \
    --config.data.manifest=tracks.csv

Published is 'base', with the first six layers of a BERT (`--config.init.text=FOLDER`, see
`atbert convert`); 'tiny' is for a laptop. MusiCNN starts anew, or from a run of it with
`--config.init.audio=RUN`; `--config.optimizer.frozen="('^model/audio_cnn/',)"` keeps it so.
"""

import ml_collections

from atbert_jax.configs import defaults, tagger, words

# Fields of the config by size, by their dotted names.
SIZES = {
    "base": {"model.layers": 6},
    "tiny": {
        "mulap.audio.hidden": 64,
        "mulap.audio.heads": 4,
        "mulap.audio.layers": 2,
        "mulap.audio.ffn": 256,
        "mulap.text_places": (1,),
        "mulap.audio_places": (0,),
        "mulap.width": 128,
        "mulap.heads": 4,
    },
}
# What MuLaP hears with, and how far below its loudest band a chunk reaches.
EARS, TOP_DB = "musicnn", 80.0


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Masked words, masked chunks, and matching of audio and text.

    Args:
        given: The size, 'base' or 'tiny'.
    """
    (size,) = words.read(given, size=(SIZES, "base"))
    config = defaults.get_config(size)
    config.model.name = "mulap"
    config.model.activation = "gelu"
    config.update_from_flattened_dict(SIZES[size])
    hear(config)
    config.model.audio_encoder = EARS
    config.segmenting.segments = 6
    config.text.max_tokens = 64
    config.objectives.masked_language = 0.1
    config.objectives.masked_audio = 4.0
    config.objectives.correct_pair = 2.0
    config.masked_language.with_audio = True
    config.correct_pair.update({"inputs": "summary", "head": "linear"})
    config.optimizer.clip_norm = 0.0
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_steps = 0.1
    return config


def hear(config: ml_collections.ConfigDict) -> None:
    """Sets chunks of three seconds, which MusiCNN hears without its dense layer."""
    config.data.input = "waveform"
    config.tagger.update({"pooled": True, "top_db": TOP_DB})
    tagger.hear(config, tagger.PUBLISHED[EARS])
