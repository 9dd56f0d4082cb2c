"""ATBERT: log-mel segments through a ResNet, text through ALBERT's embeddings, shared encoders.

The architecture is that of the ATBERT notebook with its intended behaviour: one encoder for audio,
text and audio-text instead of three, a normalisation for each of the three inputs, positions that
are really used, and masks that are real. From AVBert (Lee et al. 2021), whose video is text here,
come the other places of fusion, the other ways to share parameters and the separable CNN.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import remat, resnet, taggers, transformer
from atbert_jax.models.encoded import Encoded, drop, fold, masked_mean, with_first
from atbert_jax.models.linear import Linear
from atbert_jax.models.resnet import ResNet
from atbert_jax.models.taggers.network import heard
from atbert_jax.models.transformer import ACTIVATIONS, TABLE_INITIALIZER, Encoders, LayerNorm
from atbert_jax.models.trunk import Batch, Trunk

AUDIO, TEXT = 0, 1
# Where audio and text meet, and the encoders that it takes.
ROLES = {"early": ("joint",), "mid": ("audio", "text", "joint"), "late": ("audio", "text")}
# The defaults of `config.model`, of which other models take what they share.
DEFAULTS = {
    "model": {
        # The trunk: or 'clap', 'mulap', 'm3bert', 'crossmodal', or a tagger, such as 'musicnn'.
        "name": "atbert",
        "fusion": "mid",  # or 'early', 'late'
        "audio_encoder": "resnet",  # or a tagger, such as 'musicnn', with its front end
        "mean_start": False,  # the clip's first state also gets the mean of its segments
        **resnet.DEFAULTS,
        **transformer.DEFAULTS,
        "dtype": "float32",  # 'bfloat16' on accelerators; parameters stay float32
    }
}


class ATBERT(Trunk):
    """The trunk of audio and text; both of its streams have the width D.

    `config.model.fusion` is where audio and text meet:

    * 'mid': each is contextualized by itself, then both together (ATBERT);
    * 'early': only together; the streams that `fuse` gets are embeddings;
    * 'late': each by itself; a linear map of the two summaries is all that they share.

    Args:
        config: The whole config, of which `config.model`; with a tagger as audio encoder also
            `config.tagger`.
        contract: Gives the number of segments S, of tokens L and of the vocabulary V.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown; the message names it.
    """

    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        whole, config = config, config.model
        choices.require("config.model.fusion", config.fusion, ROLES)
        self.fusion, self.mean_start = config.fusion, config.mean_start
        dtype = jnp.dtype(config.dtype)
        hidden, embedding = config.hidden, config.embedding
        segments, tokens = contract.segmenting.segments, contract.max_tokens
        self.hidden = hidden

        def table(*shape: int) -> nnx.Param:
            return nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))

        def linear(inputs: int) -> Linear:
            return Linear(inputs, hidden, dtype=dtype, rngs=rngs)

        if config.audio_encoder == "resnet":
            self.remat = False  # as a whole: its blocks are, one by one
            self.audio_cnn = ResNet(
                config.depths,
                config.width,
                separable=config.separable,
                stem=config.stem,
                norm=config.norm,
                remat=config.remat,
                dtype=dtype,
                rngs=rngs,
            )
        else:
            self.remat = config.remat
            self.audio_cnn = taggers.build(whole, config.audio_encoder, contract, rngs=rngs)
        self.audio_input = self.audio_cnn.audio_input
        self.audio_projection = linear(self.audio_cnn.features)
        self.audio_start = table(1, hidden)
        self.audio_positions = table(segments + 1, hidden)
        self.audio_feature_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.audio_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)

        self.word_embeddings = nnx.Embed(
            contract.vocabulary, embedding, embedding_init=TABLE_INITIALIZER, rngs=rngs
        )
        self.text_positions = table(tokens, embedding)
        self.text_norm = LayerNorm(embedding, dtype=dtype, rngs=rngs)
        self.text_projection = linear(embedding)

        if self.fusion == "late":
            self.joint_projection = linear(2 * hidden)
        else:
            self.joint_positions = table(max(segments + 1, tokens), hidden)
            self.modality_embeddings = table(2, hidden)
        self.joint_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.encoders = Encoders(config, ROLES[self.fusion], dtype=dtype, rngs=rngs)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = nnx.Dropout(config.dropout)

    @property
    def embedding_widths(self) -> dict[str, int]:
        """D and E."""
        return {"audio": self.hidden, "text": self.word_embeddings.features}

    def _drop(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        return drop(self.dropout, x, fold(key, 0))

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The CNN's features of each segment, (B, S, D)."""
        mask = batch["segment_mask"]
        if self.audio_input == "waveform":
            given = heard(self.audio_cnn, batch)
        else:
            log_mel = batch[self.audio_input]
            given = log_mel.reshape(-1, *log_mel.shape[2:]), mask.reshape(-1)
        features = remat.apply(self.audio_cnn, *given, fold(key, 1), remat=self.remat)
        features = self.audio_feature_norm(self.audio_projection(features))
        return Encoded(features.reshape(*mask.shape, self.hidden), mask)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Word embeddings (B, L, E)."""
        del key
        return Encoded(self.word_embeddings(batch["token_ids"]), batch["token_mask"])

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, D) to (B, S + 1, D), with the learned start of sequence first."""
        features, mask = embedded
        start = jnp.broadcast_to(self.audio_start[...], (mask.shape[0], 1, self.hidden))
        if self.mean_start:
            # AVBert adds sinusoids to the segments first; their mean is one for all clips.
            start += masked_mean(Encoded(features.astype(jnp.float32), mask))
        x, mask = with_first(start, embedded)
        x = self._drop(self.audio_norm(x + self.audio_positions[: x.shape[1]]), key)
        return self._alone("audio", x, mask, key)

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, L, E) to (B, L, D); position 0 is [CLS]."""
        words, mask = embedded
        x = words + self.text_positions[: words.shape[1]]
        x = self.text_projection(self._drop(self.text_norm(x), key))
        return self._alone("text", x, mask, key)

    def _alone(self, role: str, x: jax.Array, mask: jax.Array, key: jax.Array | None) -> Encoded:
        if self.fusion == "early":
            return Encoded(x, mask)
        return Encoded(self.encoders(role, x, mask, fold(key, 1)), mask)

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """(B, S + 1 + L, D), audio first, or the states of one modality."""
        streams = {AUDIO: audio, TEXT: text}
        given = {modality: stream for modality, stream in streams.items() if stream is not None}
        if self.fusion != "early" and len(given) == 1:
            return next(iter(given.values()))
        mask = jnp.concatenate([stream.mask for stream in given.values()], axis=1)
        if self.fusion == "late":
            return self._fuse_late(audio, text, mask, key)
        # Positions count from 0 in each.
        x = [
            stream.hidden
            + self.joint_positions[: stream.hidden.shape[1]]
            + self.modality_embeddings[modality]
            for modality, stream in given.items()
        ]
        x = self._drop(self.joint_norm(jnp.concatenate(x, axis=1)), key)
        return Encoded(self.encoders("joint", x, mask, fold(key, 1)), mask)

    def fuse_streams(
        self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None
    ) -> tuple[Encoded | None, Encoded | None]:
        """The joint states, split; with late fusion those of the text have seen no audio."""
        fused = self.fuse(audio, text, key)
        if audio is None or text is None:
            return (None, fused) if audio is None else (fused, None)
        place = audio.mask.shape[1]
        first, second = zip(*(jnp.split(x, [place], axis=1) for x in fused), strict=True)
        return Encoded(*first), Encoded(*second)

    def _fuse_late(
        self, audio: Encoded, text: Encoded, mask: jax.Array, key: jax.Array | None
    ) -> Encoded:
        """A summary of both in place of the audio's; the other states unchanged."""
        summaries = [stream.hidden[:, 0] * stream.mask[:, :1] for stream in (audio, text)]
        summary = self.joint_projection(jnp.concatenate(summaries, axis=-1))
        summary = self._drop(self.joint_norm(summary), key)[:, None]
        hidden = jnp.concatenate([summary, audio.hidden[:, 1:], text.hidden], axis=1)
        return Encoded(hidden, mask.at[:, 0].set(mask.max(axis=1)))
