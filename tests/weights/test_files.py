"""A converted folder is there whole or not at all."""

import pytest

from atbert_jax.input_pipeline.text.whole_file import DamagedFileError
from atbert_jax.weights import files


def test_a_folder_gets_its_name_when_everything_is_in_it(tmp_path):
    folder = tmp_path / "deep" / "converted"
    with files.creating(folder) as draft:
        (draft / "a").write_text("a")
        assert not folder.exists()
    assert (folder / "a").read_text() == "a"
    assert list(folder.parent.iterdir()) == [folder]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "converted"
    folder.mkdir()  # empty
    (tmp_path / ".converted.part").mkdir()
    (tmp_path / ".converted.part" / "half").write_text("a")
    with files.creating(folder) as draft:
        (draft / "a").write_text("a")
    assert [file.name for file in folder.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_fails_leaves_nothing(tmp_path):
    def fail() -> None:
        with files.creating(tmp_path / "converted") as draft:
            (draft / "a").write_text("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match="exists already"), files.creating(folder):
            pytest.fail("the work began")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"family": "albert", "checksum": "0"}'])
def test_damaged_sizes_name_the_file(tmp_path, content):
    (tmp_path / files.ABOUT).write_text(content)
    with pytest.raises(DamagedFileError, match=f"{tmp_path / files.ABOUT}: .*; convert it anew"):
        files.read_about(tmp_path, ["albert"])
    (tmp_path / files.ABOUT).write_text("{}")
    with pytest.raises(ValueError, match="family=None is none of albert"):
        files.read_about(tmp_path, ["albert"])
