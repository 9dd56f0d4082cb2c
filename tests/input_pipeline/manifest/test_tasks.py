"""Several tasks on the same records, of which each may lack the labels of any."""

import numpy as np
import pytest

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from tests.input_pipeline.test_dataset import table

# The columns of M3BERT's users; of numbers 0 is a number, and an empty cell is none.
ROWS = (
    "file_path,length,genre,moodtheme,AV,split",
    "a.npy,100,rock,happy/fast,0.5/1,train",
    "b.npy,100,jazz,,0.0/0.0,train",
    "c.npy,100,,fast,,train",
    "d.npy,100,rock,sad,1/-1,train",
    "e.npy,100,jazz,sad/happy,,val",
)
TASKS = {
    "av": {"kind": "regression", "columns": ("AV",), "names": ("arousal", "valence")},
    "genre": {"kind": "single_label", "columns": ("genre",), "names": ()},
    "mood": {"kind": "multi_label", "columns": ("moodtheme",), "names": ()},
}


@pytest.fixture
def load(tmp_path, tone_config):
    def make(*rows: str, tasks: dict = TASKS, known=None, name: str = "table.csv", **changes):
        manifest = table(tmp_path, *(rows or ROWS), name=name)
        changes = {"data.label_separator": "/", "data.task": ""} | changes
        config = tone_config(manifest, **changes)
        config.data.tasks = tasks
        kept = {"contract": known.contract, "tokenizer": known.tokenizer} if known else {}
        return dataset.load(config, tmp_path, **kept)

    return make


def test_each_task_has_labels_and_a_mask_of_its_own(load):
    data = load()
    assert data.contract.labels == Labels()
    av, genre, mood = data.contract.tasks
    assert (genre.name, genre.task, genre.names) == ("genre", "single_label", ("jazz", "rock"))
    assert (mood.name, mood.names) == ("mood", ("fast", "happy", "sad"))
    assert av.names == ("arousal", "valence")
    assert data.contract.by_objective == {"av": av, "genre": genre, "mood": mood}
    tables = data.split("train").tables
    np.testing.assert_array_equal(tables["labels/genre"], [[0, 1], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(tables["label_mask/genre"], [1, 1, 0, 1])
    np.testing.assert_array_equal(
        tables["labels/mood"], [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    )
    np.testing.assert_array_equal(tables["label_mask/mood"], [1, 0, 1, 1])
    assert tables["labels"].shape == (4, 0)


def test_zeros_are_numbers_and_an_empty_cell_is_none(load):
    data = load()
    av, tables = data.contract.tasks[0], data.split("train").tables
    np.testing.assert_array_equal(tables["label_mask/av"], [1, 1, 0, 1])
    values = np.array([[0.5, 1], [0, 0], [1, -1]])
    np.testing.assert_allclose(av.mean, values.mean(axis=0))
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(tables["labels/av"][[0, 1, 3]], scaled, atol=1e-6)
    assert not tables["labels/av"][2].any()


def test_numbers_can_be_in_columns_of_their_own(load):
    rows = ("path,v,a,split", "a.wav,1,2,train", "b.wav,,2,train", "c.wav,3,2,val")
    data = load(*rows, tasks={"av": {"kind": "regression", "columns": ("v", "a"), "names": ()}})
    assert data.contract.tasks[0].names == ("v", "a")
    np.testing.assert_array_equal(data.split("train").tables["label_mask/av"], [1, 0])


def test_manifests_need_not_know_of_every_task(load, tmp_path):
    other = table(tmp_path, "path,genre,split", "x.wav,rock,train", name="other.csv")
    data = load(**{"data.manifest": f"{tmp_path / 'table.csv'},{other}"})
    tables = data.split("train").tables
    np.testing.assert_array_equal(tables["label_mask/genre"], [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(tables["label_mask/av"], [1, 1, 0, 1, 0])
    np.testing.assert_array_equal(tables["label_mask/mood"], [1, 0, 1, 1, 0])


def test_labels_of_a_checkpoint_are_kept(load):
    known = load()
    rows = (ROWS[0], "f.npy,100,jazz,happy,3/3,train", "g.npy,100,jazz,happy,1/1,val")
    again = load(*rows, known=known, name="new.csv")
    assert again.contract.tasks == known.contract.tasks
    np.testing.assert_array_equal(again.split("train").tables["labels/genre"], [[1, 0]])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            {"genre": {"kind": "label"}},
            r"tasks.genre.kind='label' is none of single_label, multi_label",
        ),
        ({"genre": {"columns": ("genre", "AV")}}, "labels are in one column"),
        ({"genre": {"columns": ("gnre",)}}, r"tasks.genre: none of the 4 records"),
        ({"genre": {"names": ("jazz",)}}, r"tasks.genre: .* does not name rock"),
        (
            {"av": TASKS["av"] | {"names": ("one", "two", "three")}},
            r"row 2, field 'AV': '0.5/1' is not 3 numbers",
        ),
        ({"av": TASKS["av"] | {"columns": ("v", "a")}}, "with several columns, v, a, leave them"),
    ],
)
def test_what_is_no_task_is_refused(load, tasks, message):
    (name,) = tasks
    with pytest.raises(ManifestError, match=message):
        load(tasks={name: TASKS[name] | tasks[name]})


def test_one_task_or_several(load):
    with pytest.raises(ManifestError, match="leave one of the two empty"):
        load(**{"data.task": "single_label"})
