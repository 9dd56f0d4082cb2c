"""The music taggers: audio alone, each with its own front end inside.

A network maps waveforms (N, samples) to features (N, D); the classification's head does the rest.
One file for each family, one line for each network in this table.
"""

import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.taggers.crnn import CRNN
from atbert_jax.models.taggers.fcn import FCN
from atbert_jax.models.taggers.harmonic_cnn import HarmonicCNN
from atbert_jax.models.taggers.htsat_network import HTSATNetwork
from atbert_jax.models.taggers.music_transformer import MusicTransformer
from atbert_jax.models.taggers.musicnn import MusiCNN
from atbert_jax.models.taggers.network import Network
from atbert_jax.models.taggers.pons import PonsMusiCNN, PonsVGG
from atbert_jax.models.taggers.sample_cnn import SECNN, SampleCNN
from atbert_jax.models.taggers.self_attention import SelfAttention
from atbert_jax.models.taggers.short_chunk import ShortChunk, ShortChunkRes
from atbert_jax.models.taggers.yamnet import YAMNet

NETWORKS = {
    "fcn": FCN,
    "crnn": CRNN,
    "musicnn": MusiCNN,
    "sample_cnn": SampleCNN,
    "se_cnn": SECNN,
    "short_chunk": ShortChunk,
    "short_chunk_res": ShortChunkRes,
    "harmonic_cnn": HarmonicCNN,
    "self_attention": SelfAttention,
    "music_transformer": MusicTransformer,
    "yamnet": YAMNet,
    "htsat": HTSATNetwork,
    "pons_musicnn": PonsMusiCNN,
    "pons_vgg": PonsVGG,
}


def build(
    config: ml_collections.ConfigDict, name: str, contract: Contract, *, rngs: nnx.Rngs
) -> Network:
    """The network of this name.

    Raises:
        ValueError: if there is none (the message lists those there are), or the batches do not
            carry waveforms.
    """
    choices.require("config.model.audio_encoder", name, sorted(NETWORKS))
    if config.data.input != "waveform":
        raise ValueError(
            f"{name} has its own front end, but config.data.input={config.data.input!r}; set"
            " --config.data.input=waveform"
        )
    return NETWORKS[name](config, contract.spectrogram, rngs=rngs)
