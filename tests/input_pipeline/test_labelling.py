"""Labels that configs list, and labels that look alike."""

import pytest

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.manifest.records import ManifestError
from atbert_jax.input_pipeline.manifest.tasks import named


@pytest.fixture
def load(tmp_path, tone_config):
    def load(*labels: str, **changes):
        cells = [(split, n, label) for split in ("train", "val") for n, label in enumerate(labels)]
        rows = [f"{split}{n}.wav,{label},{split}" for split, n, label in cells]
        text = "\n".join(["path,label,split", *rows])
        (tmp_path / "m.csv").write_text(text + "\n", encoding="utf-8")
        return dataset.load(tone_config(tmp_path / "m.csv", **changes), tmp_path).contract.labels

    return load


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ((), ()),
        ((0, 1), ("0", "1")),
        (("rock,pop",), ("rock", "pop")),
        ("rock, pop", ("rock", "pop")),
        (("rock", "a, b"), ("rock", "a, b")),
        ((0.5, True), ("0.5", "True")),
        ("", ()),
    ],
)
def test_what_the_command_line_makes_of_names(given, names):
    assert named(given) == names


@pytest.mark.parametrize("given", [(0, 1), ("0,1",), ("0", "1")])
def test_labels_that_are_numbers(load, given):
    assert load("1", "0", **{"data.labels": given}).names == ("0", "1")


def test_labels_of_the_config_are_composed(load):
    given = {"data.labels": ("cafe\u0301\u200b", "rock")}
    assert load("caf\u00e9", "rock", **given).names == ("caf\u00e9", "rock")


def test_targets_by_commas(tmp_path, tone_config):
    rows = "path,valence,arousal,split\na.wav,1,2,train\nb.wav,3,4,train\nc.wav,1,1,val\n"
    (tmp_path / "m.csv").write_text(rows)
    changes = {"data.task": "regression", "data.target_columns": ("valence,arousal",)}
    data = dataset.load(tone_config(tmp_path / "m.csv", **changes), tmp_path)
    assert data.contract.labels.names == ("valence", "arousal")


@pytest.mark.parametrize(
    ("one", "other"), [("Rock", "rock"), ("ﬁddle", "fiddle"), ("می\u200cخواهم", "میخواهم")]
)
def test_labels_that_look_alike_are_said(load, caplog, one, other):
    assert len(load(one, other).names) == 2
    assert "look the same, and are two classes" in caplog.text
    assert ascii(one) in caplog.text


@pytest.mark.parametrize("mark", [",", ";"])
def test_labels_with_another_separator_are_said(load, caplog, mark):
    load(f'"rock{mark}pop"', "jazz", **{"data.task": "multi_label"})
    assert f"1 of 2 labels have a {'comma' if mark == ',' else 'semicolon'} in them" in caplog.text
    assert f"--config.data.label_separator='{mark}'" in caplog.text
    caplog.clear()
    load(f'"rock{mark}pop"', "jazz")
    assert "separator" not in caplog.text


def test_records_of_other_splits_are_counted(tmp_path, tone_config, caplog):
    rows = "path,label,split\na,x,train\nb,y,train\nc,x,val\nd,x,extra\ne,y,extra\nf,y,unlabeled\n"
    (tmp_path / "m.csv").write_text(rows)
    dataset.load(tone_config(tmp_path / "m.csv"), tmp_path)
    said = "3 of 6 records are of other splits and are not read (extra 2, unlabeled 1)"
    assert f"m.csv: {said}" in caplog.text


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (
            ("Train", "Validation", "Test"),
            "--config.data.train_split=Train --config.data.val_split=Validation"
            " --config.data.test_split=Test, or",
        ),
        (("Test", "extra", "Test"), "--config.data.train_split=NAME, or"),
        (("train", "valid", "test"), "--config.data.val_split=valid, or"),
        (("train", "Test", "x"), "--config.data.val_split=NAME, or"),
    ],
)
def test_the_hint_never_trains_on_test(tmp_path, tone_config, names, hint):
    rows = [f"{n}.wav,{n % 2},{split}" for n, split in enumerate(names * 2)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(ManifestError) as caught:
        dataset.load(tone_config(tmp_path / "m.csv"), tmp_path)
    assert f"name yours with {hint}" in str(caught.value)


def test_only_test_is_no_training_data(tmp_path, tone_config):
    (tmp_path / "m.csv").write_text("path,label,split\na,x,test\nb,y,test\n")
    with pytest.raises(ManifestError, match=r"'train' has no records .*train_split=NAME$"):
        dataset.load(tone_config(tmp_path / "m.csv"), tmp_path)
