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
