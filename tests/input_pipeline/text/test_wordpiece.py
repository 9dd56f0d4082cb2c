"""WordPiece tokenizers: their ids, their own special tokens, and how they come from files."""

import json
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.input_pipeline.text import tokenization, wordpiece

# As in BERT's vocabularies: places that are free, special pieces among them, then words.
WORDS = ["!", ",", ".", "a", "slow", "sad", "piano", "song", "##s", "##ly", "cafe", "'"]
PIECES = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", *WORDS]
IDS = {piece: number for number, piece in enumerate(PIECES)}


def save(folder: Path, pieces: list[str] = PIECES, end: str = "\n", **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(piece + end for piece in pieces)
    (folder / "vocab.txt").write_bytes(lines.encode())
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def pieces_of(tokenizer, given: str, length: int = 16) -> list[str]:
    ids, mask = tokenization.tokenize(tokenizer, [given], length)
    assert (ids[mask == 0] == IDS["[PAD]"]).all()
    return tokenizer.convert_ids_to_tokens(ids[0][mask[0] > 0])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_punctuation_stays_and_words_are_cut(tmp_path, end):
    tokenizer = tokenization.load_tokenizer(save(tmp_path, end=end))
    found = pieces_of(tokenizer, "  A slowly, SAD pianos! xyz ")
    assert found == [
        *["[CLS]", "a", "slow", "##ly", ",", "sad", "piano", "##s", "!", "[UNK]", "[SEP]"]
    ]
    assert pieces_of(tokenizer, "Café")[1:-1] == ["cafe"]
    assert pieces_of(tokenizer, "...") == ["[CLS]", ".", ".", ".", "[SEP]"]
    assert pieces_of(tokenizer, "a slow sad piano song", 4) == ["[CLS]", "a", "slow", "[SEP]"]
    assert not tokenization.tokenize(tokenizer, [" \n"], 8)[1].any()
    # Written out in a text, they are no special tokens.
    found = pieces_of(tokenizer, "a [MASK] [SEP] song")
    assert "[MASK]" not in found
    assert found.count("[SEP]") == 1


def test_special_tokens_are_the_vocabularys_own(tmp_path):
    tokenizer = tokenization.load_tokenizer(save(tmp_path))
    assert tokenization.special_tokens(tokenizer) == (0, 1, 2, 3, 4, 5, 6)
    assert tokenizer.mask_token_id == 5
    albert = tokenization.tokenizer_without_text()
    assert tokenization.special_tokens(albert) == (0, 1, 2, 3, 4)


def test_it_comes_back_from_its_folder(tmp_path):
    first = tokenization.load_tokenizer(save(tmp_path / "cased", do_lower_case=False))
    folder = tokenization.save_tokenizer(first, tmp_path / "saved")
    assert not (folder / "vocab.txt").exists()
    texts = ["a Slow song!", "Café [MASK]"]
    expected = tokenization.tokenize(first, texts, 8)
    for again in (
        tokenization.load_tokenizer(folder),
        tokenization.load_tokenizer(tmp_path / "cased"),
    ):
        for wanted, found in zip(expected, tokenization.tokenize(again, texts, 8), strict=True):
            np.testing.assert_array_equal(found, wanted)
    # Without its settings the tokenizer's own file says the same.
    (folder / "tokenizer_config.json").unlink()
    found = tokenization.tokenize(tokenization.load_tokenizer(folder), texts, 8)
    np.testing.assert_array_equal(found[0], expected[0])
    assert "[UNK]" in pieces_of(first, "Slow")


def test_capital_letters_in_the_vocabulary_tell_that_it_is_cased(tmp_path):
    tokenizer = tokenization.load_tokenizer(save(tmp_path, [*PIECES, "Slow"]) / "vocab.txt")
    assert pieces_of(tokenizer, "Slow slow Sad")[1:-1] == ["Slow", "slow", "[UNK]"]
    told = tokenization.load_tokenizer(save(tmp_path, [*PIECES, "Slow"], do_lower_case=True))
    assert pieces_of(told, "Slow")[1:-1] == ["slow"]


def test_a_vocabulary_that_is_not_of_a_bert_is_refused(tmp_path):
    folder = save(tmp_path, [piece for piece in PIECES if piece != "[MASK]"])
    with pytest.raises(ValueError, match=r"the vocabulary lacks \[MASK\], so it is not"):
        tokenization.load_tokenizer(folder)


def test_a_tokenizers_file_says_of_which_kind_it_is(tmp_path):
    tokenizer = tokenization.load_tokenizer(save(tmp_path / "bert"))
    stored = tokenization.save_tokenizer(tokenizer, tmp_path / "saved") / "tokenizer.json"
    assert wordpiece.is_file_of_wordpiece(stored)
    values = json.loads(stored.read_text())
    del values["model"]["type"]  # as old files
    stored.write_text(json.dumps(values))
    assert wordpiece.is_file_of_wordpiece(stored)
    other = tokenization.save_tokenizer(tokenization.tokenizer_without_text(), tmp_path / "albert")
    assert not wordpiece.is_file_of_wordpiece(other / "tokenizer.json")
    assert wordpiece.is_wordpiece(tokenization.load_tokenizer(tmp_path / "saved"))
