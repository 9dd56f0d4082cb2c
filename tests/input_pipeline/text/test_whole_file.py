"""A file is there whole or not at all, and one that has changed says so."""

import json
import random

import pytest

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.whole_file import DamagedFileError
from tests import trial

VALUES = {"name": "café", "sizes": [1, 2.5], "inner": {"on": True, "none": None}}


def names(folder) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_what_is_written_is_read(tmp_path):
    whole_file.write_json(tmp_path / "new" / "a.json", VALUES)
    assert whole_file.read_json(tmp_path / "new" / "a.json", "") == VALUES
    assert names(tmp_path / "new") == ["a.json"]


def test_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "a.txt"
    whole_file.write(path, "text")
    before = path.stat()
    whole_file.write(path, b"text")
    assert path.stat().st_ino == before.st_ino
    whole_file.write(path, "other")
    assert path.read_text() == "other"


def test_a_draft_of_a_killed_process_goes(tmp_path):
    (tmp_path / "a.txt.part").write_text("te")
    whole_file.write(tmp_path / "a.txt", "text")
    (tmp_path / "a.txt.part").write_text("te")
    whole_file.write(tmp_path / "a.txt", "text")
    assert names(tmp_path) == ["a.txt"]


def test_what_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with whole_file.writing(path) as file:
            file.write(b"half")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.npz", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)), whole_file.writing(path):
            pytest.fail("the work began")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b'{"a": 1,\n "b": }', r"not JSON \(Expecting value in line 2, column 7\)"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[1]", "holds a list, no object"),
        (b'{"a": 1, "format": 1, "checksum": "0"}', "has changed since it was written.*delete its"),
        (b'{"a": 1, "format": 2, "checksum": "0"}', "is of a later version"),
    ],
)
def test_damage_names_file_and_remedy(tmp_path, content, reason):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"a.json: {reason}") as caught:
        whole_file.read_json(tmp_path / "a.json", "copy it again")
    assert "later version" in reason or "copy it again" in str(caught.value)


def test_of_files_that_changed_none_is_read_as_another(tmp_path):
    path = tmp_path / "a.json"
    whole_file.write_json(path, VALUES)
    data, rng, found = path.read_bytes(), random.Random(0), []
    for _ in range(300):
        mutant = bytearray(data)
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        path.write_bytes(mutant)
        found.append(
            trial.outcome(lambda: whole_file.read_json(path, "copy it again"), DamagedFileError)
        )
    refused = [each for each in found if isinstance(each, str)]
    assert len(refused) > 200
    assert not [each for each in refused if not each.startswith(f"refused: {path}: ")]
    # Others differ in whitespace, or in the name of the checksum itself.
    assert not [
        each for each in found if each not in refused and not VALUES.items() <= each.items()
    ]


def test_a_file_that_was_laid_out_anew_is_the_same(tmp_path):
    path = tmp_path / "a.json"
    whole_file.write_json(path, VALUES)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=None, sort_keys=True))
    assert whole_file.read_json(path, "") == VALUES
