"""What was said is kept, taken back, gone on with, and a manifest that is read."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import atbert_jax
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.text.visible import tidy
from atbert_jax.library import index_folder, label_file, vector_shards
from atbert_jax.library.label_file import LabelFile, Said
from atbert_jax.library.label_session import LabelSession
from atbert_jax.training.checkpoint import CheckpointError
from tests.music_library import index_vectors

ODD = 'a "b", <i> #1?%41\x1b.wav'
QUERY = np.array([1.0, 0, 0])


@pytest.fixture
def index(tmp_path) -> atbert_jax.Index:
    rng = np.random.default_rng(0)
    names = ("one.wav", ODD, "sub/two.wav", " blank.wav", os.fsdecode(b"caf\xe9.wav"))
    (tmp_path / "sub").mkdir()
    vectors = {name: rng.normal(size=(3, 3)) for name in names}
    return index_vectors(tmp_path, vectors, genre=["jazz", "rock", "jazz", "rock", "rock"])


@pytest.fixture
def file(tmp_path) -> LabelFile:
    return LabelFile(tmp_path / "low.csv")


def answer(session: LabelSession, *says: str) -> list[int]:
    windows = []
    for each in says:
        windows.append(session.offer().window)
        session.say(windows[-1], each)
    return windows


def no_room(*_: object) -> None:
    raise OSError("no room")


def skipping(path: Path):
    """Writes as ever, but not this file: a process that was killed before it."""
    write = label_file.whole_file.write
    return lambda to, content: None if to == path else write(to, content)


def rows(file: LabelFile) -> list[dict]:
    with file.manifest.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_manifest_is_read_as_it_was_meant(index, file):
    session = LabelSession(index, file, QUERY)
    windows = answer(session, "yes", "no", "skip", "yes", "no", "no", "yes", "no", "no")
    assert session.offer() is None  # of two files no table can say the names
    records = {record.id: record for record in read_manifest(file.manifest)}
    assert len(records) == 8
    said = ["yes", "no", "skip", "yes", "no", "no", "yes", "no", "no"]
    for window, says in zip(windows, said, strict=True):
        recording = int((index.content == index.content_of(window)).argmax())
        hit = index.hit(window, recording, 0.0)
        own = [r for r in records.values() if (r.path, r.start) == (hit.record.path, hit.start)]
        if says == "skip":
            assert not own
            continue
        (record,) = own
        assert record.labels == ({"yes": "low", "no": "not low"}[says],)
        assert record.group == tidy(str(hit.record.path.relative_to(file.manifest.parent)))
        # The last window of each file is half padding.
        assert record.duration == (0.5 if hit.start == 2 else 1.0)
    counts = session.counts
    assert (counts.yes, counts.no, counts.skipped) == (3, 5, 1)
    assert (counts.lost, counts.outside) == (0, 0)


def test_what_was_killed_goes_on_with_the_same_question(index, file, monkeypatch):
    session = LabelSession(index, file, QUERY)
    answer(session, "yes", "no", "yes")
    waiting = session.offer()
    before = file.manifest.read_bytes()
    # Killed between the two files: the answer is there.
    with monkeypatch.context() as patch:
        patch.setattr(label_file.whole_file, "write", no_room)
        with pytest.raises(OSError, match="no room"):
            session.say(waiting.window, "no")
    again = LabelSession(index, file, QUERY)
    assert again.offer() == session.offer() == waiting
    assert file.manifest.read_bytes() == before
    again.say(waiting.window, "no")
    assert len(rows(file)) == 4


def test_a_manifest_from_before_the_last_answer_is_written_anew(index, file):
    answer(LabelSession(index, file, QUERY), "yes", "no")
    whole = file.manifest.read_bytes()
    file.manifest.write_text("id,path\n")
    LabelSession(index, file, QUERY)
    assert file.manifest.read_bytes() == whole


def test_what_was_taken_back_before_a_kill_has_no_row(index, file, monkeypatch):
    session = LabelSession(index, file, QUERY)
    answer(session, "yes")
    with monkeypatch.context() as patch:
        patch.setattr(label_file.whole_file, "write", skipping(file.manifest))
        session.undo()
    assert len(rows(file)) == 1
    LabelSession(index, file, QUERY)
    assert rows(file) == []


def test_answers_are_taken_back_one_by_one(index, file):
    session = LabelSession(index, file, QUERY)
    offers = [session.offer()]
    for says in ("yes", "skip", "no"):
        session.say(offers[-1].window, says)
        offers.append(session.offer())
    session = LabelSession(index, file, QUERY)  # also those of another day
    for expected in reversed(offers[:-1]):
        assert session.undo()
        assert session.offer() == expected
    assert not session.undo()
    assert rows(file) == []


def test_answers_hold_for_the_sound_wherever_it_is(index, file, tmp_path):
    session = LabelSession(index, file, QUERY, {"genre": "jazz"})
    answer(session, "yes", "no", "yes", "no")
    assert {Path(row["path"]).name for row in rows(file)} == {"one.wav", "two.wav"}
    # One is moved, and the index brought up to date; the other one is another sound now.
    shutil.move(tmp_path / "one.wav", tmp_path / "moved.wav")
    (tmp_path / "sub/two.wav").write_bytes(b"another")
    files = index_folder.read_files(index.folder)
    files.records[0] = type(files.records[0])("moved.wav", tmp_path / "moved.wav")
    files.seen[0] = vector_shards.see(tmp_path / "moved.wav")
    index_folder.write_files(index.folder, files)
    again = LabelSession(atbert_jax.Index(index.folder), file, QUERY)
    assert {row["path"] for row in rows(file)} == {"moved.wav"}
    assert again.counts.lost == 4 - len(rows(file)) > 0
    while offer := again.offer():  # of what is gone nobody is asked
        assert offer.record.path.name in ("moved.wav", ODD)
        again.say(offer.window, "skip")


def test_files_elsewhere_are_named_by_their_places(index, tmp_path):
    file = LabelFile(tmp_path / "else" / "x.csv", "low")
    session = LabelSession(index, file, QUERY)
    file.manifest.parent.mkdir()
    answer(session, "yes", "no")
    assert session.counts.outside == 2
    assert all(record.path.is_file() for record in read_manifest(file.manifest, allow_outside=True))


def test_what_is_no_question_has_no_answer(index, file):
    session = LabelSession(index, file, QUERY)
    (window,) = answer(session, "yes")
    for wrong in (window, -1, len(index)):
        with pytest.raises(ValueError, match="is not one that waits"):
            session.say(wrong, "no")
    with pytest.raises(ValueError, match="is no answer"):
        session.say(session.offer().window, "perhaps")
    assert session.counts.yes == len(rows(file)) == 1


def test_only_one_process_labels(file):
    with file.locked(), pytest.raises(CheckpointError, match="is being labelled by process"):
        LabelFile(file.manifest).locked().__enter__()
    with file.locked(), LabelFile(file.manifest.with_name("other.csv")).locked():
        pass


@pytest.mark.parametrize(
    ("name", "label", "said"),
    [
        ("a.json", "", "extension .csv"),
        ("a.csv", "a|b", "cannot stand in a manifest"),
        ("a.csv", "[x]", "cannot stand in a manifest"),
        ("a.csv", "\udce9", "cannot stand in a manifest"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, label, said):
    with pytest.raises(ValueError, match=said):
        LabelFile(tmp_path / name, label)


def test_files_of_others_are_left_alone(tmp_path, file):
    file.manifest.write_text("path\na.wav\n")
    with pytest.raises(ValueError, match="is there already"):
        file.read()
    file.manifest.unlink()
    file.write([Said("x", 0.0, 1.0, "yes")], lambda _: None)
    with pytest.raises(ValueError, match=r"is of 'low', not 'high'.*--label=low"):
        LabelFile(file.manifest, "high").read()
    for wrong, message in ((b"{", "not JSON"), (b'{"said": [{"digest": 1}]}', "holds no answers")):
        file.answers.write_bytes(wrong)
        with pytest.raises(ValueError, match=message):
            file.read()


@pytest.mark.parametrize("wrong", [(-1.0, 1.0), (0.0, float("nan")), ("0", 1.0)])
def test_times_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="no stretch"):
        Said("digest", *wrong, "yes")
