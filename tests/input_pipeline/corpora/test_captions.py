"""Song Describer, LP-MusicCaps and Music4All."""

import json

import pandas as pd
import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

DESCRIBER = """\
caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration
7,1001418,"Soft, warm.",True,0,9,3,18/1001418.mp3,311.2
8,1001418,A slow one.,,1,9,3,18/1001418.mp3,311.2
9,1000203,Gone.,True,1,4,1,03/1000203.mp3,98.0
"""


@pytest.mark.parametrize("folder", ["audio", "audio/audio"])
@pytest.mark.parametrize(
    ("variant", "ids", "count"), [("full", ["7", "8"], 1106), ("valid", ["7"], 746)]
)
def test_song_describer(lay_out, folder, variant, ids, count):
    root = lay_out({"song_describer.csv": DESCRIBER}, [f"{folder}/18/1001418.2min.mp3"])
    corpus = corpora.read(f"song_describer/{variant}", root)
    assert corpus.rows["id"].tolist() == ids
    assert set(corpus.rows["path"]) == {f"{folder}/18/1001418.2min.mp3"}
    assert corpus.rows.loc[0, ["text", "split", "group", "track_duration_s"]].tolist() == [
        *("Soft, warm.", "test", "9", "311.2")
    ]
    assert "duration" not in corpus.rows
    assert corpus.left_out == {"audio/03/1000203.2min.mp3": "no such file"}
    assert corpus.published == {"test": count}


def captions(**more):
    return {f"caption_{kind}": f"A {kind}." for kind in ("writing", "summary", "paraphrase")} | more


TAGATUNE = [
    {"track_id": "2", "tag_top188": ["slow", "harp"], "path": "f/a-0-29.mp3", **captions()},
    {
        "track_id": "6",
        "tag_top188": [],
        "path": "f/b-30-59.mp3",
        **dict.fromkeys(captions(), ""),
    },
]


VIDEO = {"ytid": "x-y", "start_s": 30, "end_s": 40, "aspect_list": ["sad"], **captions()}
LP_MUSICCAPS = {"train.json": json.dumps([VIDEO])}


def test_lp_musiccaps_of_magnatagatune(lay_out):
    root = lay_out(audio=["mp3/f/a-0-29.mp3", "mp3/f/b-30-59.mp3"])
    (root / "data").mkdir()
    for split in ("train", "valid"):
        tracks = pd.DataFrame(TAGATUNE).assign(track_id=lambda t, s=split: s + t["track_id"])
        tracks.to_parquet(root / "data" / f"{split}-00000-of-00001-94781ef88fa7ed89.parquet")
    corpus = corpora.read("lp_musiccaps", root)
    assert corpus.rows["text"].tolist() == ["A writing.", "A summary.", "A paraphrase."] * 2
    assert corpus.rows["split"].tolist() == ["train"] * 3 + ["val"] * 3
    assert corpus.rows["id"].tolist()[:2] == ["train2#writing", "train2#summary"]
    assert set(corpus.rows["group"]) == {"train2", "valid2"}
    assert set(corpus.rows["labels"]) == {"slow|harp"}
    assert set(corpus.rows["path"]) == {"mp3/f/a-0-29.mp3"}
    assert corpus.left_out == {"mp3/f/b-30-59.mp3": "has no caption, for it has no tags"}
    assert corpus.published == {"train": 18706 * 3 - 3, "val": 1825 * 3 - 3, "test": 5329 * 3}
    one = corpora.read("lp_musiccaps/summary", root)
    assert one.rows["text"].tolist() == ["A summary."] * 2
    with pytest.raises(ManifestError, match=r"have no column 'caption_ground_truth'; use another"):
        corpora.read("lp_musiccaps/ground_truth", root)


def test_lp_musiccaps_of_musiccaps_and_of_the_million_songs(lay_out):
    song = {"track_id": "TRAAA", "release": "Zing", "tag": ["rap"], "path": "3/0/303.clip.mp3"}
    root = lay_out(LP_MUSICCAPS, ["[x-y]-[30-40].wav"])
    rows = corpora.read("lp_musiccaps/writing", root).rows
    assert rows[["id", "path", "labels"]].values.tolist() == [
        ["x-y#writing", "[x-y]-[30-40].wav", "sad"]
    ]
    for name in ("3/0/303.clip.mp3", "TRAAA.mp3", "npy/303.npy"):
        folder = name.replace("/", "-")
        lay_out({f"{folder}/test.jsonl": json.dumps(song | captions())}, [f"{folder}/{name}"])
        found = corpora.read("lp_musiccaps/writing", root / folder)
        assert found.rows[["path", "labels", "split"]].values.tolist() == [[name, "rap", "test"]]


MUSIC4ALL = {
    "id_information": 'id\tartist\tsong\talbum_name\na\tAnn\t"Heroes\tX\nb\tBob\tSong\tY\n',
    "id_genres": "id\tgenres\na\trock,pop\nb\tfolk\n",
    "id_tags": "id\ttags\na\tpost-punk, 80s\nb\tacoustic\n",
    "id_lang": "id\tlang\na\ten\nb\tsv\n",
    "id_metadata": "id\tspotify_id\tvalence\tenergy\tduration_ms\na\ts1\t0.4\t0.9\t251000\n",
}


def test_music4all(lay_out):
    root = lay_out(
        {f"{name}.csv": text for name, text in MUSIC4ALL.items()}, ["audios/a.mp3", "audios/b.mp3"]
    )
    corpus = corpora.read("music4all", root)
    assert corpus.rows["labels"].tolist() == ["rock|pop", "folk"]
    assert corpus.rows["text"].tolist() == ["post-punk, 80s", "acoustic"]
    assert corpus.rows["group"].tolist() == ["Ann", "Bob"]
    assert corpus.rows["song"].tolist() == ['"Heroes', "Song"]
    assert (corpus.labels, corpus.task) == (("folk", "pop", "rock"), "multi_label")
    assert corpus.deviations == ["the corpus has 2 records, a complete copy has 109269"]
    assert corpora.read("music4all/tags", root).labels == ("80s", "acoustic", "post-punk")
    moods = corpora.read("music4all/emotion", root)
    assert (moods.task, moods.targets, moods.labels) == ("regression", ("valence", "energy"), ())
    assert moods.rows[["valence", "energy"]].values.tolist() == [["0.4", "0.9"], ["", ""]]


def test_music4all_without_a_table(lay_out):
    root = lay_out({"id_genres.csv": MUSIC4ALL["id_genres"]}, ["audios/a.mp3"])
    with pytest.raises(ManifestError, match=r"lacks id_information\.csv \(of Music4All, which"):
        corpora.read("music4all", root)
