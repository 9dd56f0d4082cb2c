"""The order of labels that lies beside a manifest."""

import pytest

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.manifest.records import ManifestError


@pytest.fixture
def load(tmp_path, tone_config):
    """Loads two manifests, each in a folder with a labels.txt where one is given."""

    def load(*orders: str | None, **changes: object):
        manifests = []
        for number, order in enumerate(orders):
            folder = tmp_path / str(number)
            folder.mkdir()
            rows = "path,label,mood,split\na.wav,jazz,sad,train\nb.wav,rock,glad,val\n"
            rows += "c.wav,rock,glad,train\nd.wav,jazz,sad,val\n"
            (folder / "manifest.csv").write_text(rows)
            manifests.append(str(folder / "manifest.csv"))
            if order is not None:
                (folder / "labels.txt").write_text(order)
        config = tone_config(",".join(manifests), **changes)
        return dataset.load(config, tmp_path).contract.labels.names

    return load


def test_is_that_of_training(load):
    assert load("rock\n\n polka \njazz\n") == ("rock", "polka", "jazz")


def test_of_one_manifest_holds_for_both(load):
    assert load(None, "rock\njazz\n") == ("rock", "jazz")


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"data.labels": ("jazz", "rock")}, ("jazz", "rock")),
        ({"data.label_column": "mood"}, ("glad", "sad")),
        ({"data.task": ""}, ()),
    ],
)
def test_does_not_matter_where_the_config_says_otherwise(load, changes, names):
    assert load("rock\njazz\n", **changes) == names


def test_does_not_matter_where_a_checkpoint_has_labels(tmp_path, tone_config):
    (tmp_path / "manifest.csv").write_text("path,label,split\na.wav,jazz,train\nb.wav,rock,train\n")
    config = tone_config(tmp_path / "manifest.csv", **{"data.val_fraction": 0.0})
    data = dataset.load(config, tmp_path)
    (tmp_path / "labels.txt").write_text("rock\njazz\n")
    again = dataset.load(config, tmp_path, contract=data.contract, tokenizer=data.tokenizer)
    assert again.contract.labels.names == ("jazz", "rock")


@pytest.mark.parametrize(
    ("orders", "error"),
    [
        (("rock\njazz\n", "jazz\nrock\n"), r"0/labels\.txt and .*1/labels\.txt differ, .*data\.la"),
        (("rock\njazz\nrock\n",), r"0/labels\.txt: names the label 'rock' twice"),
        (("rock\n",), r"does not name jazz, .*labels\.txt"),
    ],
)
def test_refusals(load, orders, error):
    with pytest.raises(ManifestError, match=error):
        load(*orders)
