"""Data sets of Hugging Face on disk, as the `datasets` package writes them."""

import io
import json

import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from atbert_jax import prepare
from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest

AUDIO = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
FEATURES = {
    "id": {"dtype": "int64", "_type": "Value"},
    "audio": {"sampling_rate": 8000, "_type": "Audio"},
    "genre": {"names": ["rock", "jazz"], "_type": "ClassLabel"},
    "moods": {"feature": {"names": ["slow", "sad"], "_type": "ClassLabel"}, "_type": "Sequence"},
    "caption": {"dtype": "string", "_type": "Value"},
    "duration": {"dtype": "float32", "_type": "Value"},
    "artist": {"dtype": "string", "_type": "Value"},
}
INFO = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}


def sound(number, kind="WAV"):
    data = io.BytesIO()
    soundfile.write(data, np.full(8000, number / 100), 8000, format=kind)
    return data.getvalue()


def table(numbers, sounds=None):
    sounds = sounds or [{"bytes": sound(number), "path": None} for number in numbers]
    return pyarrow.table(
        {
            "id": pyarrow.array(numbers),
            "audio": pyarrow.array(sounds, AUDIO),
            "genre": pyarrow.array([number % 2 for number in numbers]),
            "moods": pyarrow.array([list(range(number % 3)) for number in numbers]),
            "caption": pyarrow.array([f"Number {number}." for number in numbers]),
            "duration": pyarrow.array([251.0] * len(numbers), pyarrow.float32()),
            "artist": pyarrow.array([f"artist {number // 2}" for number in numbers]),
        }
    ).replace_schema_metadata(INFO)


def save(folder, *tables, split="train"):
    """As `save_to_disk` does."""
    folder.mkdir(parents=True)
    files = [f"data-{n:05}-of-{len(tables):05}.arrow" for n in range(len(tables))]
    for name, part in zip(files, tables, strict=True):
        with pyarrow.ipc.new_stream(folder / name, part.schema) as stream:
            stream.write_table(part, max_chunksize=2)
    state = {"_data_files": [{"filename": name} for name in files], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder


@pytest.fixture
def saved(tmp_path):
    root = tmp_path / "music"
    save(root / "train", table([0, 1, 2]), table([3, 4]))
    save(root / "validation", table([5]))
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    return root


def test_a_folder_of_save_to_disk(saved, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["huggingface/label=genre", "--root", saved, "--output", output]
    prepare.main(list(map(str, arguments)))
    assert "train 5, val 1" in (said := capsys.readouterr().out)
    assert "allow_outside" not in said
    assert (output / "labels.txt").read_text() == "rock\njazz\n"
    records = read_manifest(output / "manifest.csv")
    assert [record.id for record in records] == [
        *(f"train-{number:08}" for number in range(5)),
        "validation-00000000",
    ]
    assert [record.labels for record in records] == [("rock",), ("jazz",)] * 3
    assert [record.text for record in records] == [f"Number {n}." for n in range(6)]
    assert [record.group for record in records] == [f"artist {n // 2}" for n in range(6)]
    assert {record.duration for record in records} == {None}
    for number, record in enumerate(records):
        assert record.path.read_bytes() == sound(number)
        assert record.path.is_relative_to(output.resolve() / "audio")


def test_the_roles_of_columns(saved, tmp_path):
    name = "huggingface/label=moods,text=artist,group="
    corpus = corpora.read(name, saved, tmp_path / "out")
    assert corpus.rows["labels"].tolist() == ["", "slow", "slow|sad"] * 2
    assert (corpus.labels, corpus.task) == (("slow", "sad"), "multi_label")
    assert corpus.rows["text"][2] == "artist 1"
    assert corpus.rows["genre"].tolist() == ["rock", "jazz"] * 3
    assert corpus.rows["source_duration"].tolist() == [251.0] * 6
    assert "group" not in corpus.rows
    for word, message in (
        ("label=mood", "label='mood' is none of '', "),
        ("labels=genre", "role='labels' is none of audio, .*did you mean 'label'"),
        ("audio=genre", "audio='genre' is none of "),
    ):
        with pytest.raises(ManifestError, match=f"music: {message}"):
            corpora.read(f"huggingface/{word}", saved, tmp_path / "out")
    with pytest.raises(ManifestError, match="'huggingface' makes audio files; say where"):
        corpora.read(name, saved)


def test_shards_of_parquet(tmp_path):
    root = tmp_path / "music"
    folder = root / "data"
    folder.mkdir(parents=True)
    sounds = [
        {"bytes": sound(0, "FLAC"), "path": "a.wav"},
        {"bytes": None, "path": "wav/there.ogg"},
        {"bytes": None, "path": "gone.wav"},
        {"bytes": b"no sound at all", "path": "b.wav"},
        None,
    ]
    (root / "wav").mkdir()
    (root / "wav/there.ogg").touch()
    parquet.write_table(table(range(5), sounds), folder / "train-00000-of-00001-94781ef88f.parquet")
    parquet.write_table(table([5]), folder / "test.clean-00000-of-00001.parquet")
    parquet.write_table(table([6]), folder / "spare-00000-of-00001.parquet")
    corpus = corpora.read("huggingface/label=genre", root, tmp_path / "out")
    assert corpus.sizes == {"": 4, "spare": 1, "test": 1, "train": 2}
    assert [path.rpartition("/")[2] for path in corpus.rows["path"]] == [
        *("00000000.wav", "00000000.wav", "00000000.flac", "there.ogg")
    ]
    assert corpus.rows["official_split"].tolist() == ["spare", "test.clean", "train", "train"]
    assert corpus.deviations == ["split 'train' has 2 records, a complete copy has 5"]
    assert corpus.left_out == {
        "train/0000/00000002": f"has no sound in it, and there is no file {root}/gone.wav",
        "train/0000/00000003": "is neither WAV, FLAC, Ogg, MP3, AIFF nor AU",
        "train/0000/00000004": "has no sound",
    }


def test_a_table_that_datasets_did_not_write(tmp_path):
    plain = table([0, 1]).replace_schema_metadata(None)
    (tmp_path / "music").mkdir()
    parquet.write_table(plain, tmp_path / "music" / "tracks.parquet")
    corpus = corpora.read("huggingface/label=genre", tmp_path / "music", tmp_path / "out")
    assert corpus.rows["label"].tolist() == [0, 1]
    assert (corpus.labels, corpus.sizes) == ((), {"": 2})


def test_what_is_no_data_set_with_audio(saved, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    with pytest.raises(ManifestError, match="texts: no data set of Hugging Face"):
        corpora.read("huggingface", texts, tmp_path / "out")
    parquet.write_table(pyarrow.table({"text": ["a"]}), texts / "train.parquet")
    with pytest.raises(ManifestError, match=r"texts: has no column of audio \(col"):
        corpora.read("huggingface", texts, tmp_path / "out")
    shard = saved / "train/data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:-9000])
    with pytest.raises(ManifestError, match=r"data-00001-of-00002\.arrow: not readable \(.*; get"):
        corpora.read("huggingface", saved, tmp_path / "out")
    state = saved / "train/state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_indices_data_files": ["x"]}))
    with pytest.raises(ManifestError, match=r"save it again after `flatten_indices\(\)`"):
        corpora.read("huggingface", saved, tmp_path / "out")


def test_what_was_interrupted_goes_on(saved, tmp_path):
    first = corpora.read("huggingface", saved, tmp_path / "out").rows
    whole, cut = (tmp_path / "out" / path for path in first["path"][:2])
    before = whole.stat().st_mtime_ns
    cut.write_bytes(sound(1)[:100])
    corpora.read("huggingface", saved, tmp_path / "out")
    assert whole.stat().st_mtime_ns == before
    assert cut.read_bytes() == sound(1)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_paths_and_links_must_not_lead_out(tmp_path):
    root, outside = tmp_path / "music", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    for name in ("a.wav", "b.wav"):
        (outside / name).write_bytes(sound(1))
    (root / "in.wav").write_bytes(sound(2))
    (root / "link.wav").symlink_to(outside / "b.wav")
    paths = ["in.wav", "../outside/a.wav", str(outside / "a.wav"), "link.wav", "a\0b.wav"]
    sounds = [{"bytes": None, "path": path} for path in paths]
    parquet.write_table(table(range(5), sounds), root / "train.parquet")
    corpus = corpora.read("huggingface", root, tmp_path / "out")
    assert corpus.rows["path"].tolist() == [str(root.resolve() / "in.wav")]
    reasons = list(corpus.left_out.values())
    assert len(reasons) == 4
    assert [why for why in reasons if "out of the data set's folder; allow it" in why] == reasons[
        :3
    ]
    allowed = corpora.read("huggingface", root, tmp_path / "out", allow_outside=True)
    assert len(allowed.rows) == 4


def test_tables_must_not_lie_outside(saved, tmp_path):
    other = save(tmp_path / "other", table([7]))
    state = saved / "train/state.json"
    for name in ("../../other/data-00000-of-00001.arrow", str(other / "data-00000-of-00001.arrow")):
        state.write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(
            ManifestError, match=r"leads out of the data set's folder .*--allow_out"
        ):
            corpora.read("huggingface", saved, tmp_path / "out")
        found = corpora.read("huggingface", saved, tmp_path / "out", allow_outside=True)
        assert found.rows["text"].tolist() == ["Number 7.", "Number 5."]
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "train.arrow").symlink_to(other / "data-00000-of-00001.arrow")
    with pytest.raises(ManifestError, match=r"train\.arrow: lies or leads out of the data set's"):
        corpora.read("huggingface", linked, tmp_path / "out")


@pytest.mark.parametrize("splits", [["../../away"], ["train/.."], [".."], "train", [3], {"a": 1}])
def test_splits_that_are_no_names(saved, tmp_path, splits):
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(ManifestError, match=r"dataset_dict\.json: `splits` is no list of names"):
        corpora.read("huggingface", saved, tmp_path / "out")


def test_an_offset_that_leads_out_of_its_buffer(saved, tmp_path):
    file = saved / "train/data-00000-of-00002.arrow"
    data = file.read_bytes()
    texts = b"Number 0.Number 1."
    # Their offsets, of four bytes each, stand before them.
    offsets = np.array([0, 9, 18], np.int32).tobytes()
    place = data.rindex(offsets, 0, data.index(texts))
    broken = np.array([0, -(2**31), 18], np.int32).tobytes()
    file.write_bytes(data[:place] + broken + data[place + 12 :])
    with pytest.raises(ManifestError, match=r"2\.arrow: not readable \(.*[Oo]ffset.*; get it"):
        corpora.read("huggingface", saved, tmp_path / "out")


def test_an_end_in_a_data_set_is_none_of_its_files(tmp_path):
    root = tmp_path / "music"
    root.mkdir()
    ends = table([0, 1]).append_column("end", pyarrow.array([9.0, 8.0]))
    parquet.write_table(ends, root / "train.parquet")
    rows = corpora.read("huggingface", root, tmp_path / "out").rows
    assert rows["source_end"].tolist() == [9.0, 8.0]
    assert "end" not in rows
