"""Byte-level BPE tokenizers: their ids, and how they come from files."""

import json
from pathlib import Path

import pytest

from atbert_jax.input_pipeline.text import byte_level, tokenization
from tests import clap_folders


def save(folder: Path, stored: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder


def pieces_of(tokenizer, text: str, length: int = 16) -> list[str]:
    ids, mask = tokenization.tokenize(tokenizer, [text], length)
    assert (ids[mask == 0] == tokenizer.pad_token_id).all()
    return tokenizer.convert_ids_to_tokens(ids[0][mask[0] > 0])


def test_words_are_cut_by_the_merges(tmp_path: Path):
    tokenizer = tokenization.load_tokenizer(save(tmp_path, clap_folders.tokenizer()))
    assert byte_level.is_byte_level(tokenizer)
    found = pieces_of(tokenizer, "  slow piano ")
    assert found == ["<s>", "s", "low", "\u0120p", "i", "a", "n", "o", "</s>"]
    assert pieces_of(tokenizer, "slow piano", 4) == ["<s>", "s", "low", "</s>"]
    assert not tokenization.tokenize(tokenizer, [" \n"], 8)[1].any()
    # Written out in a text, they are no special tokens.
    assert pieces_of(tokenizer, "a<mask></s>").count("</s>") == 1
    assert tokenization.special_tokens(tokenizer) == (0, 1, 2, 3, 4)
    assert tokenizer.mask_token_id == 4


def test_it_comes_back_from_its_folder(tmp_path: Path):
    first = tokenization.load_tokenizer(save(tmp_path / "source", clap_folders.tokenizer()))
    folder = tokenization.save_tokenizer(first, tmp_path / "saved")
    again = tokenization.load_tokenizer(folder)
    assert pieces_of(again, "a loud <mask> song") == pieces_of(first, "a loud <mask> song")


def test_what_is_not_robertas_is_refused(tmp_path: Path):
    stored = clap_folders.tokenizer()
    stored["normalizer"] = {"type": "Lowercase"}
    with pytest.raises(ValueError, match="normalizes texts"):
        tokenization.load_tokenizer(save(tmp_path / "lower", stored))
    stored = clap_folders.tokenizer()
    del stored["model"]["vocab"]["<mask>"]
    stored["added_tokens"] = stored["added_tokens"][:-1]
    with pytest.raises(ValueError, match="lacks <mask>"):
        tokenization.load_tokenizer(save(tmp_path / "less", stored))
