"""MuLaP (Manco et al. 2022): a stream of audio and one of text that attend to each other.

Chunks of 3 seconds go through MusiCNN, captions through BERT. The architecture is that of the
published code with its intended behaviour: the audio stream's summary is made after masking, so
that it leaks nothing of a masked chunk; the front end gets each chunk by itself; padding and
missing modalities are masked everywhere; every layer has initial values of its own.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import remat, taggers
from atbert_jax.models.bert import BERT
from atbert_jax.models.co_attention import CoAttention
from atbert_jax.models.encoded import Encoded, drop, fold, with_mean
from atbert_jax.models.linear import Linear
from atbert_jax.models.taggers.network import heard
from atbert_jax.models.transformer import ACTIVATIONS, TABLE_INITIALIZER, Encoder, LayerNorm
from atbert_jax.models.trunk import Batch, Trunk

FUSIONS = {"mul": jnp.multiply, "sum": jnp.add}
# As it was published; `config.model` has the sizes of its text stream.
DEFAULTS = {
    "mulap": {
        "audio": {
            "hidden": 256,  # width of the audio stream
            "heads": 8,  # of its attention
            "layers": 6,  # of its encoder
            "ffn": 1024,  # inner width of its feed-forward blocks
        },
        "co_attention": True,  # without, the streams meet in their summaries alone
        "text_places": (4, 5),  # layers of the text stream that a co-attention stands before
        "audio_places": (0, 1),  # those of the audio stream, as many
        "width": 1024,  # of the co-attentions and of the summary
        "heads": 8,  # of the co-attentions
        "fusion": "mul",  # of the streams' summaries; or 'sum'
    }
}


class MuLaP(Trunk):
    """The trunk of audio (width D) and text (width E); the summary's width is W.

    A co-attention stands before the layers of each stream that `config.mulap` names.
    `encode_audio` and `encode_text` apply the layers before the first of them; without
    co-attention they apply all layers.

    As published it has 95 151 264 parameters, of which 2 497 536 are of no use there; see the test
    of the sizes.

    Args:
        config: The whole config: `config.mulap`, and `config.model` with the sizes of the text
            stream and a tagger as audio encoder.
        contract: Gives the number of chunks S, of tokens L and of the vocabulary V.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown, or the places do not fit the layers.
    """

    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        model, settings = config.model, config.mulap
        choices.require("config.mulap.fusion", settings.fusion, FUSIONS)
        if settings.width % settings.heads:
            raise ValueError(
                f"config.mulap.heads={settings.heads} does not divide config.mulap.width="
                f"{settings.width}"
            )
        audio = model.copy_and_resolve_references()
        audio.update(settings.audio)
        places = _places(settings, {"text": model.layers, "audio": audio.layers})
        self.text_places, self.audio_places = places if settings.co_attention else ((), ())
        self.combine, self.hidden = FUSIONS[settings.fusion], settings.width
        dtype = jnp.dtype(model.dtype)

        self.remat = model.remat
        self.audio_cnn = taggers.build(config, model.audio_encoder, contract, rngs=rngs)
        self.audio_input = self.audio_cnn.audio_input
        self.audio_projection = Linear(
            self.audio_cnn.features, audio.hidden, dtype=dtype, rngs=rngs
        )
        shape = (contract.segmenting.segments + 1, audio.hidden)
        self.audio_positions = nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))
        self.audio_norm = LayerNorm(audio.hidden, dtype=dtype, rngs=rngs)
        self.audio_encoder = Encoder(audio, dtype=dtype, rngs=rngs)
        self.text_encoder = BERT(model, contract, dtype=dtype, rngs=rngs)
        self.activation = ACTIVATIONS[model.activation]
        self.co_attention = nnx.List(
            CoAttention(audio, model, settings.width, settings.heads, dtype=dtype, rngs=rngs)
            for _ in self.text_places
        )
        self.audio_pooler = Linear(audio.hidden, self.hidden, dtype=dtype, rngs=rngs)
        self.text_pooler = Linear(model.hidden, self.hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(model.dropout)

    @property
    def embedding_widths(self) -> dict[str, int]:
        """Of the CNN's features, C, and of the words, E."""
        return {"audio": self.audio_cnn.features, "text": self.text_pooler.in_features}

    @property
    def stream_widths(self) -> dict[str, int]:
        """D and E."""
        return {"audio": self.audio_pooler.in_features, "text": self.text_pooler.in_features}

    @property
    def word_embeddings(self) -> nnx.Embed:
        """The table (V, E) of BERT."""
        return self.text_encoder.word_embeddings

    def _drop(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        return drop(self.dropout, x, fold(key, 0))

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The CNN's features of each chunk, (B, S, C)."""
        mask, given = batch["segment_mask"], heard(self.audio_cnn, batch)
        features = remat.apply(self.audio_cnn, *given, fold(key, 1), remat=self.remat)
        return Encoded(features.reshape(*mask.shape, -1), mask)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Word embeddings (B, L, E)."""
        del key
        return Encoded(self.word_embeddings(batch["token_ids"]), batch["token_mask"])

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, S, C) to (B, S + 1, D); position 0 starts as the mean of the given chunks."""
        x, mask = with_mean(embedded)
        x = self.audio_projection(x)
        x = self._drop(self.audio_norm(x + self.audio_positions[: x.shape[1]]), key)
        return self._continue(self.audio_encoder, Encoded(x, mask), key, self.audio_places, 0)

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, L, E) to (B, L, E); position 0 is [CLS]."""
        x = Encoded(self.text_encoder.place(embedded.hidden, fold(key, 0)), embedded.mask)
        return self._continue(self.text_encoder.encoder, x, key, self.text_places, 0)

    def fuse_streams(
        self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None
    ) -> tuple[Encoded | None, Encoded | None]:
        """Both streams, (B, S + 1, D) and (B, L, E), through the rest of their layers."""
        for number, attend in enumerate(self.co_attention, start=1):
            own = fold(key, number)
            if audio is not None and text is not None:
                audio, text = attend(audio, text, own)
            if audio is not None:
                audio = self._continue(self.audio_encoder, audio, own, self.audio_places, number)
            if text is not None:
                encoder = self.text_encoder.encoder
                text = self._continue(encoder, text, own, self.text_places, number)
        return audio, text

    def _continue(
        self,
        encoder: Encoder,
        x: Encoded,
        key: jax.Array | None,
        places: tuple[int, ...],
        number: int,
    ) -> Encoded:
        """Applies a stream's layers up to the co-attention of this number."""
        bounds = (0, *places, None)
        hidden = encoder(
            x.hidden, x.mask, fold(key, 2), first=bounds[number], last=bounds[number + 1]
        )
        return Encoded(hidden, x.mask)

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """The summary (B, 1, W): the product or sum of the two pooled first states.

        In a row that lacks one modality it is the pooled state of the other one.
        """
        audio, text = self.fuse_streams(audio, text, fold(key, 0))
        summaries = [
            (jnp.tanh(pooler(stream.hidden[:, 0])), stream.mask[:, 0])
            for pooler, stream in ((self.audio_pooler, audio), (self.text_pooler, text))
            if stream is not None
        ]
        summary, present = summaries[0]
        for other, other_present in summaries[1:]:
            both = self.combine(summary, other)
            summary = jnp.where(present[:, None] > 0, summary, other)
            summary = jnp.where((present * other_present)[:, None] > 0, both, summary)
            present = jnp.maximum(present, other_present)
        return Encoded(self._drop(summary, fold(key, 1))[:, None], present[:, None])


def _places(
    settings: ml_collections.ConfigDict, layers: dict[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places of the co-attentions in the streams of text and of audio.

    Raises:
        ValueError: if they are not as many in both, not in order, or behind the last layer.
    """
    text, audio = tuple(settings.text_places), tuple(settings.audio_places)
    for name, places in (("text", text), ("audio", audio)):
        if list(places) != sorted(places) or any(not 0 <= x <= layers[name] for x in places):
            raise ValueError(
                f"config.mulap.{name}_places={places} must be ascending numbers from 0 to"
                f" {layers[name]}, the number of layers of that stream"
            )
    if len(text) != len(audio):
        raise ValueError(
            f"config.mulap.text_places={text} and audio_places={audio} are places of the same"
            " co-attentions: give as many of both"
        )
    return text, audio
