"""Texts to vectors, by a converted sentence transformer."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from atbert_jax.configs import defaults
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.keys import Keys
from atbert_jax.models.sentence_encoder import SentenceEncoder
from atbert_jax.weights import bert_rules, engine, files, sentence_rules

# Texts that are read at a time, and the least number of tokens, which are powers of two.
BATCH, SHORTEST = 32, 8


class Sentences:
    """The folder of `atbert convert sentence_transformer`, ready to read texts.

    Args:
        folder: The converted one.

    Attributes:
        width: D.
        longest: Number of tokens of the longest text.
        normalized: Vectors have length 1.
        sizes: Of the encoder, as `config.model` has them.

    Raises:
        ValueError: if the folder is none of a sentence transformer, or has no tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        about = files.read_about(folder, [bert_rules.FAMILY])
        tokenizer = files.read_tokenizer(folder)
        if sentence_rules.SENTENCE not in about or tokenizer is None:
            lacks = (
                "tokenizer" if sentence_rules.SENTENCE in about else "way to a sentence's vector"
            )
            raise ValueError(
                f"{folder} has no {lacks}; make it with `atbert convert"
                f" {sentence_rules.FAMILY} SOURCE {folder}` from a folder that has"
            )
        sentence = about[sentence_rules.SENTENCE]
        self.tokenizer, self.longest = tokenizer, sentence["max_tokens"]
        self.width = about["hidden"]
        self.normalized = sentence["normalized"]
        self.sizes = {name: about[name] for name in (*bert_rules.SIZES, "layers")}
        config = defaults.get_config()
        config.model.update(self.sizes)
        config.text.max_tokens = about["max_positions"]
        contract = make_contract(config, tokenizer, Labels())

        def build() -> SentenceEncoder:
            return SentenceEncoder(
                config.model,
                contract,
                normalized=self.normalized,
                dtype=jnp.float32,
                rngs=Keys(0),
            )

        self._definition, state = nnx.split(nnx.eval_shape(build), nnx.Param)
        arrays = files.read_arrays(folder)
        self._state = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(arrays[f"model/{engine.name_of(path)}"]),
            nnx.to_pure_dict(state),
        )
        self._run = jax.jit(lambda state, *batch: nnx.merge(self._definition, state)(*batch))

    def encoder(self) -> SentenceEncoder:
        """The network with its arrays."""
        return nnx.merge(self._definition, self._state)

    def params(self, tokens: int) -> dict:
        """The arrays of `SentenceEncoder` by name, for texts of at most so many tokens."""
        encoder = self._state["text_encoder"]
        positions = encoder["positions"][:tokens]
        return {"text_encoder": encoder | {"positions": positions}}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, D), float32, of N texts; the end of longer ones is not read."""
        ids, mask = tokenization.tokenize(self.tokenizer, list(texts), self.longest)
        found = np.zeros((len(ids), self.width), np.float32)
        # Texts of about one length together, so that little is padding.
        order = np.argsort(mask.sum(axis=1), kind="stable")
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            tokens = max(SHORTEST, int(mask[rows].sum(axis=1).max()))
            tokens = min(1 << (tokens - 1).bit_length(), self.longest)
            batch = [np.zeros((BATCH, tokens), each.dtype) for each in (ids, mask)]
            for whole, each in zip(batch, (ids, mask), strict=True):
                whole[: len(rows)] = each[rows, :tokens]
            found[rows] = self._run(self._state, *batch)[: len(rows)]
        return found
