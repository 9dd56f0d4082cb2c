"""A music tagger's network as a trunk."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import remat, taggers
from atbert_jax.models.encoded import Encoded, with_mean
from atbert_jax.models.taggers.network import heard
from atbert_jax.models.trunk import AudioTrunk, Batch

# Of all taggers, as models and as audio encoders of others.
DEFAULTS = {
    "tagger": {
        "wide": False,  # MusiCNN as it was published for MSD, pons_musicnn as MSD_musicnn_big
        # pons_vgg as it was published for MSD, whose first maxima do not overlap.
        "apart": False,
        "attention": 256,  # width of the Music Tagging Transformer; 64: its student
        # Inside of the attention models, and of their weights; published for
        # self_attention are 0.4 and 0.5. Of pons_musicnn 0.5, of pons_vgg 0.25.
        "dropout": 0.1,
        "attention_dropout": 0.0,  # of the weights
        # SpecAugment within the model, which has its own front end.
        "frequency_masks": 0,
        "frequency_mask_size": 0.1,  # largest share of the bands under one mask
        "time_masks": 0,  # how many in a segment
        "time_mask_size": 0.1,  # largest share of the frames under one mask
        "top_db": 0.0,  # how far below its loudest band a segment reaches; 0: no limit
        "pooled": False,  # MusiCNN without its dense layer, as MuLaP hears with it
    }
}


class Tagger(AudioTrunk):
    """A trunk of waveforms, whose embeddings are the network's features of each segment.

    With one segment a clip it is trained instance by instance, as published; with several, a head
    on their mean is trained on whole songs.

    Args:
        config: The whole config; `config.model.name` names the network (see `taggers`).
        contract: Gives the spectrogram.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such network, or the batches do not carry waveforms.
    """

    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        self.remat = config.model.remat
        self.network = taggers.build(config, config.model.name, contract, rngs=rngs)
        self.audio_input, self.hidden = self.network.audio_input, self.network.features

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The network's features of each segment, (B, S, D)."""
        mask = batch["segment_mask"]
        features = remat.apply(self.network, *heard(self.network, batch), key, remat=self.remat)
        return Encoded(features.reshape(*mask.shape, self.hidden), mask)

    def audio_layers(self, batch: Batch) -> list[Encoded]:
        """Every place in each of the network's pictures; those behind the sound are padding."""
        rows, segments, size = batch[self.audio_input].shape
        real = jnp.where(batch["segment_mask"] > 0, batch["samples"], 0)[..., None, None]
        layers = []
        for picture in self.network.pictures(*heard(self.network, batch), None):
            frames, channels = picture.shape[-2:]
            hidden = picture.reshape(rows, segments, -1, frames, channels)
            mask = jnp.arange(frames) * (size / frames) < real
            mask = jnp.broadcast_to(mask, hidden.shape[:-1]).reshape(rows, -1)
            hidden = hidden.reshape(rows, -1, channels)
            layers.append(Encoded(hidden, mask.astype(jnp.float32)))
        return layers

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, D) to (B, S + 1, D): the mean of the real segments, then each by itself."""
        del key
        return with_mean(embedded)
