"""MagnaTagATune: its two sets of clips, that never mix, and the official annotations."""

import gzip
import json
import pickle

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora.magnatagatune import EMPTY
from atbert_jax.input_pipeline.corpora.tag_sets import MTAT
from atbert_jax.input_pipeline.manifest.records import ManifestError

# The official table has 188 tags, of which these stand for those that are not in use.
COLUMNS = ("clip_id", "no voice", "singer", *[tag for tag in MTAT if tag != "no voice"], "mp3_path")


def annotations(clips: dict[str, tuple[str, ...]]) -> str:
    rows = [COLUMNS]
    for number, (path, tags) in enumerate(clips.items()):
        given = ["1" if tag in tags else "0" for tag in COLUMNS[1:-1]]
        rows.append((str(number), *given, path))
    return "".join("\t".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


CLIPS = {
    "0/a.mp3": ("guitar", "rock"),
    "b/b.mp3": ("singer",),
    "c/c.mp3": ("no voice", "choral"),
    "d/d.mp3": ("rock",),
    "f/f.mp3": ("techno",),
    EMPTY[0]: ("guitar",),
}


@pytest.fixture
def root(lay_out):
    root = lay_out({"annotations_final.csv": annotations(CLIPS)}, CLIPS)
    lists = {"train": ["f/f.mp3", "0/a.mp3"], "valid": ["c/c.mp3"], "test": ["d/d.mp3"]}
    (root / "MTAT_split").mkdir()
    for name, paths in lists.items():
        (root / f"MTAT_split/{name}_list_pub.cP").write_bytes(pickle.dumps(paths, 0))
    return root


def test_all_clips_by_their_folders(root):
    corpus = corpora.read("magnatagatune/25k", root)
    rows = corpus.rows
    assert rows["path"].tolist() == ["0/a.mp3", "b/b.mp3", "c/c.mp3", "d/d.mp3", "f/f.mp3"]
    assert rows["split"].tolist() == ["train", "train", "val", "test", "test"]
    assert rows["labels"].tolist() == ["guitar|rock", "", "no voice|choral", "rock", "techno"]
    assert (corpus.labels, corpus.task) == (MTAT, "multi_label")
    assert corpus.left_out == {EMPTY[0]: "empty in the official distribution"}
    # All three empty clips are of train: of the 18709 that are published, one is missed here.
    assert corpus.published["train"] == 18_708


def test_the_clips_of_the_lists(root):
    corpus = corpora.read("magnatagatune", root)
    assert corpus.rows["path"].tolist() == ["f/f.mp3", "0/a.mp3", "c/c.mp3", "d/d.mp3"]
    assert corpus.rows["split"].tolist() == ["train", "train", "val", "test"]
    assert corpus.rows["labels"].tolist() == ["techno", "guitar|rock", "no voice|choral", "rock"]
    assert corpus.published == {"train": 15_244, "val": 1_529, "test": 4_332}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (pickle.dumps(["0/other.mp3"]), "no list of clips of annotations_final.csv"),
        (pickle.dumps({"a": 1}), "no list of clips"),
        (pickle.dumps(print), "wants builtins.print, which is no part of a table; it was not run"),
        (b"not a pickle", "not readable as a pickle"),
    ],
)
def test_other_lists(root, content, error):
    (root / "MTAT_split/test_list_pub.cP").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test_list_pub\.cP: .*{error}"):
        corpora.read("magnatagatune/21k", root)


def test_each_needs_its_own_files(lay_out):
    root = lay_out({"annotations_final.csv": annotations(CLIPS)}, CLIPS)
    assert len(corpora.read("magnatagatune/25k", root).rows) == 5
    with pytest.raises(
        ManifestError, match=r"lacks MTAT_split/train_list_pub\.cP .*; MTAT_split/v"
    ):
        corpora.read("magnatagatune/21k", root)


def test_the_official_annotations(real, tmp_path):
    packed = (real("mtat") / "magnatagatune_jukemir.json.gz").read_bytes()
    clips = json.loads(gzip.decompress(packed)).values()
    clips = [clip for clip in clips if clip["split"] or clip["y_all"]]
    given = {clip["extra"]["mp3_path"]: tuple(clip["y_all"]) for clip in clips}
    (tmp_path / "annotations_final.csv").write_text(annotations(given))
    corpus = corpora.read("magnatagatune/25k", tmp_path)
    assert corpus.sizes == {"": 25_860, "train": 18_706, "val": 1_825, "test": 5_329}
    assert corpus.deviations == []
    assert list(corpus.left_out) == list(EMPTY)
    expected = {
        clip["extra"]["mp3_path"]: (clip["split"].replace("valid", "val"), set(clip["y"]))
        for clip in clips
        if clip["split"]
    }
    found = zip(corpus.rows["path"], corpus.rows["split"], corpus.rows["labels"], strict=True)
    assert expected == {
        path: (split, set(filter(None, tags.split("|")))) for path, split, tags in found
    }
