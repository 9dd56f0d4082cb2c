"""What is to be indexed: folders, files and tables, and the columns of the tables."""

import pytest

from atbert_jax.library import listing


@pytest.fixture
def music(tmp_path):
    for name in ("a.wav", "sub/b.mp3", "sub/notes.txt"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).touch()
    return tmp_path / "music"


def test_folders_and_files_are_listed_once(music, monkeypatch):
    monkeypatch.chdir(music.parent)
    found = listing.read(["music", "music/a.wav", "music"])
    assert [record.path for record in found.records] == [music / "a.wav", music / "sub/b.mp3"]
    assert found.columns == {}


def test_columns_of_tables_are_kept_as_text(music):
    table = music / "t.csv"
    table.write_text("path,text,year,mood\na.wav,a song,1999,\nsub/b.mp3,b,,sad|slow\n")
    other = music / "u.jsonl"
    other.write_text('{"path": "a.wav", "labels": ["x", "y"], "start": 1.5}\n')
    found = listing.read([str(music), str(table), str(other)])
    assert [record.text for record in found.records] == ["", "", ""]
    assert [record.start for record in found.records] == [0, 0, 1.5]
    assert found.columns["year"] == ["1999", "", ""]
    assert found.columns["mood"] == ["", "sad|slow", ""]
    assert found.columns["text"] == ["a song", "b", ""]
    assert found.columns["labels"] == ["", "", "x|y"]
    assert all(record.path.is_file() for record in found.records)


def test_nothing_and_shards_are_refused(music):
    with pytest.raises(ValueError, match="nothing to index; name folders"):
        listing.read([])
    (music / "empty").mkdir()
    with pytest.raises(ValueError, match="no audio files here"):
        listing.read([str(music / "empty")])
    table = music / "t.csv"
    table.write_text("path,place\nshard.array_record,0\n")
    with pytest.raises(ValueError, match="names shards, of which nothing can be played"):
        listing.read([str(table)])
