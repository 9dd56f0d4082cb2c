"""Million Song: lists and tags out of pickles of Python 2, with audio in two layouts."""

import pickle

import numpy as np
import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora import million_song
from atbert_jax.input_pipeline.corpora.tag_sets import MSD

TRAIN = ["TRAAAAK128F9318786", "TRBCDAK128F9318787", "TRCAAAK128F9318788"]
TEST = ["TRDAAAK128F9318789"]
# The pickle of {"TRAAA": array([[1], [0]])} by NumPy 1 on Python 2.7, but for ids and lengths.
VECTOR = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    b"(I1\n(I50\nI1\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n%s\ntb"
)


def of_python_2(values: dict[str, list[str]]) -> bytes:
    items = b""
    for track, tags in values.items():
        vector = np.array([[tag in tags] for tag in MSD], "<f8").tobytes()
        text = "S'" + "".join(f"\\x{byte:02x}" for byte in vector) + "'"
        items += f"S'{track}'\n".encode() + VECTOR % text.encode() + b"s"
    return b"(d" + items + b"."


@pytest.fixture
def root(lay_out, monkeypatch):
    """The split with its files; of the list for train all but two are train."""
    monkeypatch.setattr(million_song, "FIRST_OF_VAL", 2)
    tags = {TRAIN[0]: ["rock", "happy"], TRAIN[1]: ["pop"], TRAIN[2]: [], TEST[0]: ["House"]}
    files = {
        "filtered_list_train.cP": pickle.dumps(TRAIN, 0),
        "filtered_list_test.cP": pickle.dumps(TEST, 0),
        "msd_id_to_tag_vector.cP": of_python_2(tags),
        "MSD_id_to_7D_id.pkl": pickle.dumps({track: track[-4:] for track in TRAIN + TEST}, 2),
        "7D_id_to_path.pkl": pickle.dumps(
            {track[-4:]: f"8/9/{track[-4:]}.clip.mp3" for track in TRAIN + TEST}, 2
        ),
    }
    root = lay_out({"MSD_split/50tagList.txt": "\n".join(MSD)})
    for name, content in files.items():
        (root / "MSD_split" / name).write_bytes(content)
    return root


def test_audio_by_the_ids_of_tracks(root, lay_out):
    lay_out(audio=["A/A/A/TRAAAAK128F9318786.mp3", "B/C/D/TRBCDAK128F9318787.npy",
                   "C/A/A/TRCAAAK128F9318788.wav"])  # fmt: skip
    corpus = corpora.read("million_song", root)
    assert corpus.rows.to_dict("list") == {
        "id": TRAIN,
        "path": [
            "A/A/A/TRAAAAK128F9318786.mp3",
            "B/C/D/TRBCDAK128F9318787.npy",
            "C/A/A/TRCAAAK128F9318788.wav",
        ],
        "labels": ["rock|happy", "pop", ""],
        "split": ["train", "train", "val"],
    }
    assert (corpus.labels, corpus.task) == (MSD, "multi_label")
    assert corpus.left_out == {"D/A/A/TRDAAAK128F9318789.mp3": "no such file"}


def test_audio_of_7digital(root, lay_out):
    lay_out(audio=[f"8/9/{track[-4:]}.clip.mp3" for track in TRAIN + TEST])
    rows = corpora.read("million_song", root).rows
    assert rows["path"].tolist() == [f"8/9/{n}.clip.mp3" for n in (8786, 8787, 8788, 8789)]
    assert rows["split"].tolist() == ["train", "train", "val", "test"]


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        (
            "msd_id_to_tag_vector.cP",
            pickle.dumps({}),
            r"MSD_split: its files do not fit each",
        ),
        ("filtered_list_test.cP", pickle.dumps({}), r"list_test\.cP: holds no list; get"),
        (
            "filtered_list_test.cP",
            pickle.dumps(exit),
            r"list_test\.cP: it wants .* not run",
        ),
    ],
)
def test_other_files(root, file, content, error):
    (root / "MSD_split" / file).write_bytes(content)
    with pytest.raises(ValueError, match=error):
        corpora.read("million_song", root)


def test_the_published_split():
    assert million_song.FIRST_OF_VAL == 201_680
