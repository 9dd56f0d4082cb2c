"""CLAP (Wu et al. 2023): clips and texts as directions of one space, as LAION published it.

Computes what transformers' `ClapModel` does: HTSAT hears (see `htsat`), RoBERTa (Liu et al. 2019)
reads, which is a BERT with another tokenizer, and a projection of two layers follows on each.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import clap_frontend
from atbert_jax.models.bert import BERT
from atbert_jax.models.encoded import Encoded, fold, masked_mean, unit
from atbert_jax.models.htsat import BANDS, FRAMES, HTSAT
from atbert_jax.models.linear import Linear
from atbert_jax.models.spec_augment import masks_of
from atbert_jax.models.trunk import Batch, Trunk

# Of the published model without fusion; `config.model` has the sizes of its RoBERTa.
DEFAULTS = {
    "clap": {
        # A clip of several segments is heard as a whole, with crops of it: feature fusion.
        "fused": False,
        "patch_width": 96,  # channels of HTSAT's patches; each next stage has twice as many
        "depths": (2, 2, 6, 2),  # layers of each stage
        "heads": (4, 8, 16, 32),  # of the attention of each stage
        "projection": 512,  # width of the space that clips and texts share
    }
}


class Projection(nnx.Module):
    """Two maps with a ReLU between them.

    Args:
        inputs: C.
        width: D.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(self, inputs: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.first = Linear(inputs, width, dtype=dtype, rngs=rngs)
        self.second = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., C) to (..., D)."""
        return self.second(nnx.relu(self.first(x)))


class CLAP(Trunk):
    """A trunk of audio and text, which gives a summary alone: their directions, of length 1.

    Without fusion each segment is heard by itself, and a clip is the mean of its segments, before
    the projection. With fusion the segments of a clip are joined; where that is longer than one
    segment, it is heard as a whole, shrunk, and by three crops of it. Shorter clips are repeated.
    There is no joint encoder: both together are the direction between that of each.

    With the sizes of laion/clap-htsat-unfused and texts of 77 tokens it has 153 156 504 parameters.

    Args:
        config: The whole config: `config.clap`, in `config.model` the sizes of RoBERTa, and in
            `config.tagger` the masks of SpecAugment, which all views of a clip share.
        contract: Gives the spectrogram, segments, tokens and vocabulary.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if the batches do not carry waveforms, segments are too long or do not have 64
            bands, or a size does not fit; the message names the field.
    """

    audio_input = "waveform"
    has_streams = False
    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        settings, sizes = config.clap, config.model
        if config.data.input != "waveform":
            raise ValueError(
                f"clap makes log-mels of waveforms, but config.data.input={config.data.input!r};"
                " set --config.data.input=waveform"
            )
        self.spectrogram = contract.spectrogram
        self.samples = contract.segmenting.samples(self.spectrogram.sample_rate)
        frames = self.samples // self.spectrogram.hop_length + 1
        if self.spectrogram.n_mels != BANDS or frames > FRAMES:
            raise ValueError(
                f"clap hears {BANDS} bands and at most {FRAMES} frames, but"
                f" config.spectrogram.n_mels={self.spectrogram.n_mels}, and a segment has {frames};"
                " set n_mels, or make config.segmenting.seconds less or hop_length more"
            )
        dtype = jnp.dtype(sizes.dtype)
        self.fused, self.hidden = settings.fused, settings.projection
        self.activation = nnx.relu
        self.audio_encoder = HTSAT(
            settings,
            fused=settings.fused,
            masks=masks_of(config.tagger, frames=2, bands=3),
            dropout=sizes.dropout,
            remat=sizes.remat,
            dtype=dtype,
            rngs=rngs,
        )
        self.text_encoder = BERT(sizes, contract, dtype=dtype, rngs=rngs)
        self.pooler = Linear(sizes.hidden, sizes.hidden, dtype=dtype, rngs=rngs)
        self.audio_projection = Projection(
            self.audio_encoder.width, self.hidden, dtype=dtype, rngs=rngs
        )
        self.text_projection = Projection(sizes.hidden, self.hidden, dtype=dtype, rngs=rngs)

    @property
    def word_embeddings(self) -> nnx.Embed:
        """RoBERTa's (V, E)."""
        return self.text_encoder.word_embeddings

    def views(self, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What HTSAT hears.

        Args:
            batch: `waveform` (B, S, N), `samples` and `segment_mask` (B, S).
            key: Draws crops; None = evaluation.

        Returns:
            Log-mels (M, V, T, F), which of them are of long clips (M,), and mask (M,). Without
            fusion M is B S and V 1, with it B and 4.
        """
        waveform, mask = batch["waveform"], batch["segment_mask"].astype(jnp.float32)
        samples = jnp.where(mask > 0, batch["samples"], 0)
        spectrogram, least = self.spectrogram, self.samples
        if not self.fused:
            waveform = waveform.reshape(-1, waveform.shape[-1])[:, :least]
            waveform = clap_frontend.repeated(waveform, samples.reshape(-1), least)
            ends = jnp.full(waveform.shape[0], least)
            log_mel = clap_frontend.decibels(waveform, ends, spectrogram)
            return log_mel[:, None], jnp.zeros(waveform.shape[0]), mask.reshape(-1)
        waveform, samples = waveform.reshape(waveform.shape[0], -1), samples.sum(axis=1)
        waveform = clap_frontend.repeated(waveform, samples, least)
        ends = jnp.maximum(samples, least).astype(jnp.int32)
        log_mel = clap_frontend.decibels(waveform, ends, spectrogram)
        size, frames = (each // spectrogram.hop_length + 1 for each in (least, ends))
        views = clap_frontend.four_views(log_mel, frames, size, key)
        return views, (frames > size).astype(jnp.float32), mask.max(axis=1)

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """HTSAT's vectors (B, S, C) of segments, or with fusion (B, 1, C) of clips."""
        views, longer, mask = self.views(batch, fold(key, 0))
        vectors = self.audio_encoder(views, longer, mask, fold(key, 1))
        count = batch["waveform"].shape[0]
        return Encoded(vectors.reshape(count, -1, vectors.shape[-1]), mask.reshape(count, -1))

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Word embeddings (B, L, E)."""
        del key
        return Encoded(self.word_embeddings(batch["token_ids"]), batch["token_mask"])

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, C) unchanged."""
        del key
        return embedded

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """RoBERTa's last states (B, L, E)."""
        words, mask = embedded
        x = self.text_encoder.place(words, fold(key, 0))
        return Encoded(self.text_encoder.encoder(x, mask, fold(key, 1)), mask)

    def audio_layers(self, batch: Batch) -> list[Encoded]:
        """The patches and what each stage makes of them, (B, S places, C) each."""
        views, longer, mask = self.views(batch, None)
        count = batch["waveform"].shape[0]
        found = []
        for states in self.audio_encoder.states(views, longer, mask, None):
            masks = jnp.broadcast_to(mask[:, None], states.shape[:2]).reshape(count, -1)
            found.append(Encoded(states.reshape(count, -1, states.shape[-1]), masks))
        return found

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """The summary (B, 1, D), float32, of length 1."""
        del key
        found = []
        if audio is not None:
            found.append((self.audio_projection(masked_mean(audio)), audio.mask))
        if text is not None:
            first = jnp.tanh(self.pooler(text.hidden[:, :1]))
            found.append((self.text_projection(first), text.mask))
        # A modality that is missing has no direction.
        present = [mask.max(axis=1)[:, None] for _, mask in found]
        total = sum(
            unit(vector) * each[..., None] for (vector, _), each in zip(found, present, strict=True)
        )
        return Encoded(unit(total), jnp.stack(present).max(axis=0))
