"""Sentence transformers: what their folders say is kept, and what is not here is refused."""

import json

import pytest

from atbert_jax.weights import bert_rules, files, sentence_rules
from tests import sentence_folders
from tests.sentence_folders import MODULES


def convert(folder):
    return sentence_rules.from_pytorch(files.read_pytorch(str(folder)), "some/encoder")


def test_the_arrays_are_those_of_the_bert(tmp_path):
    folder = sentence_folders.make(tmp_path)
    found = convert(folder)
    bert = bert_rules.from_pytorch(files.read_pytorch(str(folder)), "some/encoder")
    assert found.arrays.keys() == bert.arrays.keys()
    assert found.about == bert.about | {"sentence": {"normalized": True, "max_tokens": 9}}


@pytest.mark.parametrize(("longest", "expected"), [(5, 5), (400, 12)])
def test_texts_are_no_longer_than_there_are_positions(tmp_path, longest, expected):
    folder = sentence_folders.make(tmp_path, modules=MODULES[:2], longest=longest)
    sentence = convert(folder).about["sentence"]
    assert sentence == {"normalized": False, "max_tokens": expected}


def test_all_positions_are_there_where_nothing_is_said(tmp_path):
    folder = sentence_folders.make(tmp_path)
    (folder / "sentence_bert_config.json").unlink()
    assert convert(folder).about["sentence"]["max_tokens"] == 12


def test_the_tokenizer_says_how_long_texts_are_where_nothing_else_does(tmp_path):
    folder = sentence_folders.make(tmp_path)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 7}')
    assert convert(folder).about["sentence"]["max_tokens"] == 9
    (folder / "sentence_bert_config.json").write_text("{}")
    assert convert(folder).about["sentence"]["max_tokens"] == 7


@pytest.mark.parametrize("longest", ["9", -3, 2, 1.5, [1]])
def test_lengths_that_cannot_be_are_refused(tmp_path, longest):
    with pytest.raises(ValueError, match=r"the longest text has .* sentence_bert_config\.json"):
        convert(sentence_folders.make(tmp_path, longest=longest))


def test_what_changes_texts_before_they_are_read_is_refused(tmp_path):
    folder = sentence_folders.make(tmp_path)
    file = folder / "config_sentence_transformers.json"
    prompts = {"query": "slow ", "none": ""}
    for name in (None, "none"):
        file.write_text(json.dumps({"prompts": prompts, "default_prompt_name": name}))
        convert(folder)
    file.write_text(json.dumps({"prompts": prompts, "default_prompt_name": "query"}))
    with pytest.raises(ValueError, match="puts the prompt 'query' before each text"):
        convert(folder)
    file.unlink()
    file = folder / "sentence_bert_config.json"
    file.write_text('{"max_seq_length": 9, "do_lower_case": true}')
    convert(folder)  # as its tokenizer does
    pieces = (folder / "vocab.txt").read_text().replace("[unused0]", "AB")
    (folder / "vocab.txt").write_text(pieces.replace("[unused1]", "ab"))
    with pytest.raises(ValueError, match="do_lower_case is set, but the tokenizer tells capital"):
        convert(folder)


def test_modules_that_a_folder_brings_itself_are_refused(tmp_path):
    folder = sentence_folders.make(tmp_path)
    text = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(text.replace("sentence_transformers.models.T", "own.T"))
    with pytest.raises(ValueError, match=r"the modules are own\.Transformer, Pooling, Normalize"):
        convert(folder)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"modules": ("Transformer", "Pooling", "Dense")}, "modules are .* Dense; only Transf"),
        ({"modules": ("Transformer",)}, "the modules are Transformer; only"),
        ({"pooling": "cls_token"}, "pools by cls_token; only the mean"),
        ({"pooling": "lasttoken"}, "pools by nothing that is known here"),
    ],
)
def test_other_ways_to_a_vector_are_refused(tmp_path, described, message):
    with pytest.raises(ValueError, match=message):
        convert(sentence_folders.make(tmp_path, **described))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no modules.json here, .* convert it as `bert`"),
        ("[{]", "modules.json: not JSON"),
        ('[{"type": "a.Transformer"}]', "no list of modules"),
        ("7", "no list of modules"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, content, message):
    folder = sentence_folders.make(tmp_path)
    if content is None:
        (folder / "modules.json").unlink()
    else:
        (folder / "modules.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        convert(folder)


def test_an_encoder_in_a_folder_of_its_own_is_named(tmp_path):
    folder = sentence_folders.make(tmp_path)
    table = json.loads((folder / "modules.json").read_text())
    table[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="the encoder is in 0_Transformer; move its files"):
        convert(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    table[0]["path"] = ""
    (folder / "modules.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="not there, and it tells how tokens are pooled"):
        convert(folder)
