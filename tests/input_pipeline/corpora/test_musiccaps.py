"""MusicCaps: its table, and clips under the names that people give them."""

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

TABLE = """\
ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,\
is_audioset_eval
-0Gj8-vB1q4,30,40,"/m/01,/m/02","['low quality', ""singer's voice""]","Slow, sad.",4,False,True
ab_cd-12345,0,10,/m/0155w,[],A banjo.,0,True,False
gone0000000,5,15,/m/0155w,['noisy'],A fight.,0,False,False
"""


@pytest.mark.parametrize(
    "names",
    [
        ("-0Gj8-vB1q4.wav", "ab_cd-12345.mp3"),
        ("wav/[-0Gj8-vB1q4]-[30-40].wav", "wav/[ab_cd-12345]-[0-10].wav"),
        ("-0Gj8-vB1q4_30_40.flac", "ab_cd-12345_0_10.flac"),
        ("-0Gj8-vB1q4_30000_40000.flac", "ab_cd-12345_0_10000.flac"),
        ("-0Gj8-vB1q4-[30-40].ogg", "ab_cd-12345_0.ogg"),
    ],
)
def test_clips_under_their_usual_names(lay_out, names):
    root = lay_out({"musiccaps-public.csv": TABLE}, names)
    corpus = corpora.read("musiccaps", root)
    assert corpus.rows["path"].tolist() == list(names)
    assert corpus.rows["id"].tolist() == ["-0Gj8-vB1q4", "ab_cd-12345"]
    assert corpus.rows["text"].tolist() == ["Slow, sad.", "A banjo."]
    assert corpus.rows["labels"].tolist() == ["low quality|singer's voice", ""]
    assert corpus.rows["split"].tolist() == ["test", "train"]
    assert corpus.rows["is_balanced_subset"].tolist() == ["False", "True"]
    assert corpus.left_out == {"gone0000000.wav": "no such file"}
    assert corpus.deviations[1] == "split 'test' has 1 records, a complete copy has 2858"


def test_whole_videos(lay_out):
    root = lay_out({"musiccaps-public.csv": TABLE}, ["-0Gj8-vB1q4.mp3", "ab_cd-12345_0_10.mp3"])
    rows = corpora.read("musiccaps/videos", root).rows
    assert rows[["path", "start", "duration"]].values.tolist() == [["-0Gj8-vB1q4.mp3", "30", 10]]


def test_a_table_that_is_not_there_or_not_whole(lay_out):
    with pytest.raises(ManifestError, match=r"lacks musiccaps-public\.csv \(of https"):
        corpora.read("musiccaps", lay_out(audio=["a.wav"]))
    root = lay_out({"musiccaps-public.csv": TABLE.replace("['noisy']", "['noi")})
    with pytest.raises(ManifestError, match=r"public\.csv, row 4: \"\['noi\" is no list"):
        corpora.read("musiccaps", root)


def test_the_official_table(real):
    corpus = corpora.read("musiccaps", real("musiccaps"))
    assert corpus.sizes == {"": 5521, "test": 2858, "train": 2663}
    assert (corpus.deviations, corpus.left_out) == ([], {})
    assert (corpus.rows["is_balanced_subset"] == "True").sum() == 1000
    aspects = corpus.rows["labels"].str.split("|").explode()
    assert aspects.nunique() == 13219
    assert aspects.value_counts().iloc[0] == (aspects == "low quality").sum() == 1220
