"""A music tagger on the labels of a data set, as it was published.

atbert train --config tagger:musicnn,mtat --workdir runs/musicnn \
    --config.data.manifest=tracks.csv
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_collections

from atbert_jax.configs import defaults, tagger_recipes, words
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS


class Published(NamedTuple):
    """What a network was published with.

    Attributes:
        samples: Length of the input.
        bands: Of the log-mel; of the networks that hear the waveform itself the default.
        rate: Sample rate, in Hz.
        dropout: Before the output.
        within: Dropout inside of a model, and of its attention weights.
        hop: Seconds from one chunk of a clip to the next; 0 is the length of the input.
        hears: Fields of `config.spectrogram` that are others than the taggers' usual ones.
    """

    samples: int
    bands: int = 96
    rate: int = 16_000
    dropout: float = 0.5
    within: tuple[float, float] = (0.1, 0.0)
    hop: float = 0.0
    hears: Mapping[str, Any] = MappingProxyType({})


# As TensorFlow's model garden has it: magnitudes, of 25 ms every 10 ms.
YAMNET = {"hop_length": 160, "f_min": 125.0, "f_max": 7500.0, "power": 1.0, "log_floor": 1e-3}
# As the musicnn library has it (Pons and Serra 2019): log10(10000 x + 1) of powers x.
PONS = {"mel_scale": "slaney", "log_floor": 1e-4}
# As CLAP has it (Wu et al. 2023), where it hears without fusion.
CLAP = {"hop_length": 480, "f_min": 50.0, "f_max": 14_000.0, "mel_scale": "slaney"}
# Won et al. (2020), table 1; for the Music Tagging Transformer Won et al. (2021).
PUBLISHED = {
    "fcn": Published(464_000),
    "crnn": Published(464_000),
    "musicnn": Published(48_000),
    "sample_cnn": Published(59_049),
    "se_cnn": Published(59_049),
    "short_chunk": Published(59_049, 128),
    "short_chunk_res": Published(59_049, 128),
    "harmonic_cnn": Published(80_000, 128),
    "self_attention": Published(240_000, 128, within=(0.4, 0.5)),
    "music_transformer": Published(220_500, 128, 22_050, 0.0),
    "yamnet": Published(15_600, 64, dropout=0.0, hop=0.48, hears=YAMNET),
    "htsat": Published(480_000, 64, 48_000, 0.0, hears=CLAP),
    "pons_musicnn": Published(47_872, within=(0.5, 0.0), hears=PONS),
    "pons_vgg": Published(47_872, within=(0.25, 0.0), hears=PONS),
}
# Frames are as long as 32 ms at 16 kHz and 46 ms at 22.05 kHz: FFT by rate; half of it is the hop,
# unless a network hears otherwise.
N_FFT = {16_000: 512, 22_050: 1024, 48_000: 1024}


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """A network, trained on random chunks of its published length.

    Args:
        given: The network, 'musicnn' if there is none; the data set whose labels it tells ('mtat',
            'jamendo', 'msd' or 'gtzan'), or nothing for the manifest's own tags; and the recipe
            (see `tagger_recipes`), 'published' if there is none.
    """
    name, data, recipe = words.read(
        given,
        network=(PUBLISHED, "musicnn"),
        data=(TAG_SETS, ""),
        recipe=(tagger_recipes.RECIPES, "published"),
    )
    published = PUBLISHED[name]
    config = defaults.get_config("tiny")
    config.model.name = name
    config.tagger.wide = data == "msd" and name != "pons_musicnn"
    config.tagger.apart = data == "msd" and name == "pons_vgg"
    config.tagger.dropout, config.tagger.attention_dropout = published.within
    config.objectives.classification = 1.0
    config.classification.update(
        {"views": ("audio",), "head": "linear", "pooling": "mean", "dropout": published.dropout}
    )
    config.data.input = "waveform"
    config.data.text_column = ""  # captions are not heard
    config.data.task = "single_label" if data == "gtzan" else "multi_label"
    config.data.labels = TAG_SETS.get(data, ())
    config.text.max_tokens = 3
    hear(config, published)
    config.evaluation.batch_size = 16
    tagger_recipes.apply(config, recipe)
    return config


def hear(config: ml_collections.ConfigDict, published: Published) -> None:
    """Sets length and front end, as HTK bands in decibels, which the network normalises itself."""
    n_fft = N_FFT[published.rate]
    config.spectrogram.update(
        {
            "sample_rate": published.rate,
            "n_fft": n_fft,
            "hop_length": n_fft // 2,
            "n_mels": published.bands,
            "mel_scale": "htk",
            "log_floor": 1e-10,
        }
        | dict(published.hears)
    )
    seconds = published.samples / published.rate
    config.segmenting.update({"segments": 1, "seconds": seconds, "hop": published.hop})
    config.normalization = "none"
