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

from atbert_jax.models import taggers
from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.resnet import ResNet
from atbert_jax.models.transformer import ACTIVATIONS, TABLE_INITIALIZER, Encoders, LayerNorm
from input_pipeline.contract import Contract

AUDIO, TEXT = 0, 1
# Where audio and text meet, and the encoders that it takes.
ROLES = {"early": ("joint",), "mid": ("audio", "text", "joint"), "late": ("audio", "text")}


class ATBERT(nnx.Module):
    """The trunk: `encode_audio`, `encode_text`, `fuse` and `fuse_streams`.

    `config.fusion` says where audio and text meet:

    * 'mid': each is contextualized by itself, then both together (ATBERT);
    * 'early': only together; the streams that `fuse` gets are embeddings;
    * 'late': each by itself; a linear map of the two summaries is all that they share.

    In all methods `key` drives the dropout and batch normalisation learns; `key=None` is
    evaluation.

    Args:
        config: The whole config; of `config.model`: fusion, sharing, audio_encoder ('resnet' or a
            tagger), depths, width, separable, stem, norm, mean_start, hidden,
            heads, layers, ffn, embedding, activation, dropout, rank, rotation, scan_layers,
            remat, dtype.
        contract: Gives the number of segments S, of tokens L and of the vocabulary V.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown; the message names it.
    """

    modalities = ("audio", "text")

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        whole, config = config, config.model
        if config.fusion not in ROLES:
            raise ValueError(f"config.model.fusion={config.fusion!r} is none of {', '.join(ROLES)}")
        self.fusion, self.mean_start = config.fusion, config.mean_start
        dtype = jnp.dtype(config.dtype)
        hidden, embedding = config.hidden, config.embedding
        segments, tokens = contract.segmenting.segments, contract.max_tokens
        self.hidden = hidden

        def table(*shape: int) -> nnx.Param:
            return nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))

        def linear(inputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, hidden, dtype=dtype, rngs=rngs)

        if config.audio_encoder == "resnet":
            self.audio_cnn = ResNet(
                config.depths,
                config.width,
                separable=config.separable,
                # Runs from before these could be chosen have none of them in their configs.
                stem=config.get("stem", "full"),
                norm=config.get("norm", "batch"),
                remat=config.remat,
                dtype=dtype,
                rngs=rngs,
            )
        else:
            self.audio_cnn = taggers.build(whole, config.audio_encoder, contract, rngs=rngs)
        self.hears = self.audio_cnn.hears
        self.audio_projection = linear(self.audio_cnn.features)
        self.audio_start = table(1, hidden)
        self.audio_positions = table(segments + 1, hidden)
        self.audio_feature_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.audio_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)

        self.word_embeddings = nnx.Embed(
            contract.vocabulary, embedding, embedding_init=TABLE_INITIALIZER, dtype=dtype, rngs=rngs
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
        """Of what `embed_audio` and `embed_text` return, D and E."""
        return {
            "audio": self.audio_projection.out_features,
            "text": self.word_embeddings.features,
        }

    @property
    def stream_widths(self) -> dict[str, int]:
        """Of the two streams, D both."""
        return {"audio": self.hidden, "text": self.hidden}

    def _drop(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        return self.dropout(x, deterministic=key is None, rngs=fold(key, 0))

    def embed_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """What the CNN hears in each segment.

        Args:
            batch: `log_mel` (B, S, F, T), or `waveform` (B, S, N) for a tagger, and
                `segment_mask` (B, S).
            key: None = evaluation.

        Returns:
            (B, S, D).
        """
        sound, mask = batch[self.hears], batch["segment_mask"]
        merged = sound.reshape(-1, *sound.shape[2:])
        features = self.audio_cnn(merged, mask.reshape(-1), fold(key, 1))
        features = self.audio_feature_norm(self.audio_projection(features))
        return Encoded(features.reshape(*mask.shape, self.hidden), mask)

    def embed_text(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """Word embeddings (B, L, E) of `token_ids` (B, L) with `token_mask` (B, L)."""
        del key
        return Encoded(self.word_embeddings(batch["token_ids"]), batch["token_mask"])

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The stream of audio: (B, S, D) to (B, S + 1, D), the learned start of sequence first."""
        features, mask = embedded
        start = jnp.broadcast_to(self.audio_start[...], (len(mask), 1, self.hidden))
        if self.mean_start:
            # AVBert adds sinusoids to the segments first; their mean is one for all clips.
            weight = mask[..., None]
            start += (features * weight).sum(1, keepdims=True) / jnp.maximum(
                weight.sum(1, keepdims=True), 1
            )
        x = jnp.concatenate([start.astype(features.dtype), features], axis=1)
        x = self._drop(self.audio_norm(x + self.audio_positions[: x.shape[1]]), key)
        # The start is there where any segment is, so that a missing clip is masked altogether.
        mask = jnp.concatenate([mask.max(axis=1, keepdims=True), mask], axis=1)
        return self._alone("audio", x, mask, key)

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The stream of text: (B, L, E) to (B, L, D); position 0 is [CLS]."""
        words, mask = embedded
        x = words + self.text_positions[: words.shape[1]]
        x = self.text_projection(self._drop(self.text_norm(x), key))
        return self._alone("text", x, mask, key)

    def _alone(self, role: str, x: jax.Array, mask: jax.Array, key: jax.Array | None) -> Encoded:
        if self.fusion == "early":
            return Encoded(x, mask)
        return Encoded(self.encoders(role, x, mask, fold(key, 1)), mask)

    def encode_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """The stream of audio (B, S + 1, D) of `log_mel` (B, S, F, T) and `segment_mask`."""
        return self.contextualize_audio(self.embed_audio(batch, key), key)

    def encode_text(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """The stream of text (B, L, D) of `token_ids` and `token_mask` (B, L)."""
        return self.contextualize_text(self.embed_text(batch, key), key)

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """Audio and text together, or what one of them says by itself.

        Args:
            audio: From `encode_audio`, (B, S + 1, D); None = the text alone.
            text: From `encode_text`, (B, L, D); None = the audio alone.
            key: Of the dropout; None = evaluation.

        Returns:
            (B, S + 1 + L, D), audio first, or one of the streams; position 0 is the summary.
        """
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
        """What `fuse` says, as its two streams; where fusion is late, that of text is alone.

        Args:
            audio: From `encode_audio`, (B, S + 1, D); None = the text alone.
            text: From `encode_text`, (B, L, D); None = the audio alone.
            key: Of the dropout; None = evaluation.

        Returns:
            The streams, of the same shapes.
        """
        hidden, mask = self.fuse(audio, text, key)
        place = 0 if audio is None else audio.mask.shape[1]
        parts = (
            Encoded(hidden[:, :place], mask[:, :place]),
            Encoded(hidden[:, place:], mask[:, place:]),
        )
        return None if audio is None else parts[0], None if text is None else parts[1]

    def _fuse_late(
        self, audio: Encoded, text: Encoded, mask: jax.Array, key: jax.Array | None
    ) -> Encoded:
        """One summary from both, in the place of the audio's; the other states as they are."""
        summaries = [stream.hidden[:, 0] * stream.mask[:, :1] for stream in (audio, text)]
        summary = self.joint_projection(jnp.concatenate(summaries, axis=-1))
        summary = self._drop(self.joint_norm(summary), key)[:, None]
        hidden = jnp.concatenate([summary, audio.hidden[:, 1:], text.hidden], axis=1)
        return Encoded(hidden, mask.at[:, 0].set(mask.max(axis=1)))
