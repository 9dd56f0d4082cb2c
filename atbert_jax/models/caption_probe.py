"""A probe that texts can be asked of: what is heard, mapped to where a sentence's vector is."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.linear_probe import Probe
from atbert_jax.models.sentence_encoder import SentenceEncoder
from atbert_jax.models.trunk import Batch

DEFAULTS = {
    "caption_probe": {
        "normalized": True,  # vectors of sentences have length 1, as their encoder was trained
    }
}


class CaptionProbe(Probe):
    """Frozen models and a frozen sentence encoder, with one linear map from what is heard.

    Clips and texts are one position each. The map is a ridge regression from the features of clips
    to the vectors of their captions, as linear maps between embeddings are (Mikolov et al. 2013,
    "Exploiting similarities among languages"); the objective `alignment` compares the two.

    Args:
        config: The whole config; `config.probe`, `config.caption_probe`, and the sizes of the BERT
            in `config.model`.
        contract: Of one segment a clip, and of texts as the BERT reads them.
        rngs: Keys of the initial values.

    Raises:
        ValueError: as `Probe` does.
    """

    modalities = ("audio", "text")
    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(config, contract, rngs=rngs)
        heard, self.hidden = self.hidden, config.model.hidden
        self.output = nnx.Linear(heard, self.hidden, rngs=rngs)
        self.sentence = SentenceEncoder(
            config.model,
            contract,
            normalized=config.caption_probe.normalized,
            dtype=jnp.dtype(config.model.dtype),
            rngs=rngs,
        )

    @property
    def word_embeddings(self) -> nnx.Embed:
        """Table (V, D) of the sentence encoder."""
        return self.sentence.text_encoder.word_embeddings

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Where the captions of clips should be: (B, 1, D)."""
        heard = super().embed_audio(batch, key)
        return Encoded(self.output(heard.hidden), heard.mask)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Vectors of whole texts: (B, 1, D)."""
        del key  # frozen
        mask = batch["token_mask"]
        vectors = self.sentence(batch["token_ids"], mask)
        return Encoded(vectors[:, None], mask.max(axis=1, keepdims=True))

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, 1, D) unchanged: there is one position."""
        del key
        return embedded

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """One alone unchanged, or of both the mean (B, 1, D) of what is there."""
        del key
        if audio is None or text is None:
            return text if audio is None else audio
        there = jnp.stack([audio.mask, text.mask])[..., None]
        total = (jnp.stack([audio.hidden, text.hidden]) * there).sum(axis=0)
        mask = jnp.maximum(audio.mask, text.mask)
        return Encoded(total / jnp.maximum(there.sum(axis=0), 1), mask)

    def fuse_streams(
        self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None
    ) -> tuple[Encoded | None, Encoded | None]:
        """Both unchanged."""
        del key
        return audio, text
