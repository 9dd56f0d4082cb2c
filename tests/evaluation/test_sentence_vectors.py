"""Vectors of sentences: means of a BERT's states, whatever else is read beside them.

What PyTorch computes is compared in `tests/conversion/test_parity.py`.
"""

import io

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.conversion import convert_folder
from atbert_jax.evaluation.sentence_vectors import Sentences
from atbert_jax.input_pipeline.text import tokenization
from tests import sentence_folders

TEXTS = ["slow piano", "fast drums and loud strings", "", "soft", "slow piano with a piano " * 5]


def convert(source, folder):
    console = Console(file=io.StringIO())
    convert_folder.from_pytorch("sentence_transformer", str(source), folder, console=console)
    return Sentences(folder)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    root = tmp_path_factory.mktemp("sentences")
    return convert(sentence_folders.make(root / "source"), root / "converted")


def test_a_text_reads_the_same_beside_others(sentences):
    together = sentences(TEXTS)
    assert together.shape == (5, 16)
    assert together.dtype == np.float32
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(sentences([text])[0], vector, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 1, 0, 1, 1], atol=1e-6)
    assert np.linalg.norm(together[0] - together[1]) > 0.01
    assert sentences([]).shape == (0, 16)


def test_more_texts_than_are_read_at_a_time_stay_in_order(sentences):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(sentence_folders.WORDS, rng.integers(1, 7))) for _ in range(70)]
    found = sentences(texts)
    for row in (0, 31, 32, 69):
        np.testing.assert_allclose(found[row], sentences([texts[row]])[0], atol=1e-6)


def test_vectors_are_means_of_states(sentences, tmp_path):
    source = sentence_folders.make(tmp_path / "source", modules=sentence_folders.MODULES[:2])
    plain = convert(source, tmp_path / "converted")
    ids, mask = tokenization.tokenize(plain.tokenizer, TEXTS[:2], 9)
    found = plain(TEXTS[:2])
    encoder = plain.encoder()
    hidden = np.asarray(encoder.text_encoder(ids, mask, None))
    expected = [states[real > 0].mean(axis=0) for states, real in zip(hidden, mask, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(found / lengths, sentences(TEXTS[:2]), atol=1e-6)


def test_what_is_no_sentence_transformer_is_refused(tmp_path):
    source = sentence_folders.make(tmp_path / "source")
    console = Console(file=io.StringIO())
    convert_folder.from_pytorch("bert", str(source), tmp_path / "bert", console=console)
    with pytest.raises(ValueError, match="has no way to a sentence's vector; make it with"):
        Sentences(tmp_path / "bert")
    (source / "vocab.txt").unlink()
    with pytest.raises(ValueError, match="has no tokenizer; make it with"):
        convert(source, tmp_path / "without")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """Pieces without a vector would have one of no numbers."""
    source = sentence_folders.make(tmp_path / "source")
    whole = (source / "vocab.txt").read_text()
    (source / "vocab.txt").write_text(whole + "more\n")
    with pytest.raises(ValueError, match="tokenizer has 25 pieces, the weights have vectors of 24"):
        convert(source, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
    (source / "vocab.txt").write_text(whole[: len(whole) // 2])
    console = Console(file=io.StringIO(), width=200)
    folder = tmp_path / "converted"
    convert_folder.from_pytorch("sentence_transformer", str(source), folder, console=console)
    assert "see that its files are whole" in console.file.getvalue()
