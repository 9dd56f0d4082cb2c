"""RAVDESS: what the names of its files tell."""

import itertools

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora import clips
from atbert_jax.input_pipeline.manifest.records import ManifestError
from tests.conftest import DATA


def names(channel, emotions, actors):
    """All names of a channel as published: strong intensity of all but neutral."""
    return [
        f"Actor_{actor:02}/03-{channel:02}-{emotion:02}-{strong:02}-{words:02}-{again:02}-{actor:02}.wav"
        for actor, emotion in itertools.product(actors, range(1, emotions + 1))
        for strong, words, again in itertools.product((1, 2)[: 1 + (emotion > 1)], (1, 2), (1, 2))
    ]


def test_a_complete_copy(tmp_path, monkeypatch):
    singers = [actor for actor in range(1, 25) if actor != 18]
    files = names(1, 8, range(1, 25)) + names(2, 6, singers)
    monkeypatch.setattr(clips, "audio_files", lambda root: files)
    speech, song, both = (
        corpora.read(f"ravdess/{channel}", tmp_path) for channel in ("speech", "song", "all")
    )
    assert (len(speech.rows), len(song.rows), len(both.rows)) == (1440, 1012, 2452)
    assert speech.deviations == song.deviations == both.deviations == []
    assert speech.left_out == {}
    assert speech.labels[5:] == ("fearful", "disgust", "surprised")
    assert set(song.rows["label"]) == set(song.labels)
    assert speech.rows["group"].nunique() == 24


def test_what_a_name_tells_and_what_is_left_out(lay_out):
    path = "Actor_12/03-01-06-01-02-01-12.wav"
    again = f"audio_speech_actors_01-24/{path}"
    root = lay_out(audio=[path, again, "Actor_12/01-01-06-01-02-01-12.wav"])
    corpus = corpora.read("ravdess", root)
    assert corpus.rows.to_dict("records") == [
        {
            "id": "03-01-06-01-02-01-12",
            "path": path,
            "text": "Dogs are sitting by the door",
            "label": "fearful",
            "group": "actor12",
            "channel": "speech",
            "intensity": "normal",
            "repetition": "1",
            "sex": "female",
        }
    ]
    assert corpus.left_out == {
        again: f"is {path} again",
        "Actor_12/01-01-06-01-02-01-12.wav": "is not named as a recording of sound",
    }
    assert corpus.deviations == ["the corpus has 1 records, a complete copy has 1440"]
    with pytest.raises(ManifestError, match=r"unpack Audio_Song_Actors_01-24\.zip \(of https"):
        corpora.read("ravdess/song", root)


def test_real_names(lay_out):
    file = DATA / "emotion_ravdess" / "manifest.csv"
    if not file.exists():
        pytest.skip(f"no {file}: it is not distributed")
    from atbert_jax.input_pipeline.manifest.table_file import Table

    table = Table(file)
    paths = [path.partition("/")[2] for path in table.strings("source_file")]
    rows = corpora.read("ravdess/all", lay_out(audio=paths)).rows.set_index("path").loc[paths]
    for column in ("text", "group", "sex", "intensity"):
        assert rows[column].tolist() == table.strings(column if column != "group" else "speaker")
    assert rows["label"].tolist() == table.strings("label")
