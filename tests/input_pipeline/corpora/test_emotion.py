"""EmoMusic and DEAM: arousal and valence, and their splits."""

import shutil

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

INFO = (
    '"song_id","file_name","Artist","Song title","start of the segment (min.sec)",'
    '"end of the segment (min.sec)","Genre","Mediaeval 2013 set"\n'
)
# Tabs stand around what the cells hold, as published.
SONGS = (
    '2,"\t2.mp3","\tTroubadours\t","\tTonight","\t0.48","\t1.33","\tBlues","development"\n'
    '3,"\t3.mp3","\tKevin MacLeod","\tDD Groove","0.36","1.21","\tBlues\t","evaluation"\n'
)
MEANS = (
    "song_id,mean_arousal,std_arousal,mean_valence,std_valence\n"
    "3,3.5,1.8409,3.3,1.7029\n2,3.1,0.99443,3,0.66667\n"
)
EMOMUSIC = {
    "annotations/songs_info.csv": INFO + SONGS,
    "annotations/static_annotations.csv": MEANS,
}
LEVEL = "annotations averaged per song/song_level/static_annotations_averaged_songs"
DEAM = {
    f"{LEVEL}_1_2000.csv": "song_id, valence_mean, valence_std, arousal_mean, arousal_std\n"
    "2, 3.1, 0.94, 3, 0.63\n10, 5, 1, 6, 1\n",
    f"{LEVEL}_2000_2058.csv": "song_id, valence_mean, valence_std, valence_ max_mean,"
    " arousal_mean\n2001, 4.5, 1, 9, 7.5\n",
}


def test_emomusic(lay_out):
    root = lay_out(EMOMUSIC, ["clips_45seconds/2.mp3", "clips_45seconds/3.mp3"])
    corpus = corpora.read("emomusic", root)
    assert corpus.rows.to_dict("list") == {
        "id": ["2", "3"],
        "path": ["clips_45seconds/2.mp3", "clips_45seconds/3.mp3"],
        "arousal": ["3.1", "3.5"],
        "valence": ["3", "3.3"],
        "split": ["train", "test"],
        "group": ["Troubadours", "Kevin MacLeod"],
        "title": ["Tonight", "DD Groove"],
        "genre": ["Blues", "Blues"],
    }
    assert (corpus.task, corpus.targets) == ("regression", ("arousal", "valence"))


def test_a_song_without_values(lay_out):
    tables = EMOMUSIC | {"annotations/static_annotations.csv": MEANS.replace("\n3,", "\n4,")}
    root = lay_out(tables, ["clips_45seconds/2.mp3"])
    with pytest.raises(ManifestError, match=r"songs_info\.csv: a song has no set, or no values in"):
        corpora.read("emomusic", root)


def test_the_official_tables(real, tmp_path):
    (tmp_path / "clips_45seconds").mkdir()
    (tmp_path / "annotations").mkdir()
    for name in ("songs_info.csv", "static_annotations.csv"):
        shutil.copy(real("emomusic") / name, tmp_path / "annotations")
    corpus = corpora.read("emomusic", tmp_path)
    assert corpus.sizes == {"": 744, "train": 619, "test": 125}
    assert corpus.deviations == []
    assert corpus.rows["genre"].nunique() == 8
    values = corpus.rows[list(corpus.targets)].astype(float)
    assert values.min().min() >= 1
    assert values.max().max() <= 9


@pytest.mark.parametrize("parts", [("", ""), ("DEAM_Annotations/", "DEAM_audio/")])
def test_deam(lay_out, parts):
    tables = {f"{parts[0]}annotations/{name}": table for name, table in DEAM.items()}
    audio = [f"{parts[1]}MEMD_audio/{song}.mp3" for song in (2, 10, 2001)]
    corpus = corpora.read("deam", lay_out(tables, audio))
    assert corpus.rows.to_dict("list") == {
        "id": ["2", "10", "2001"],
        "path": audio,
        "arousal": ["3", "6", "7.5"],
        "valence": ["3.1", "5", "4.5"],
        "split": ["train", "train", "test"],
    }
    assert corpus.published == {"train": 1_744, "test": 58}
