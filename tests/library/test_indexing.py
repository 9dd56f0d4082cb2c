"""An index: its vectors are the model's, each file is heard once, and nothing is mixed up."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import atbert_jax
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.library import index_folder, vector_shards
from atbert_jax.library.indexing import Counts
from atbert_jax.training import lock
from tests import tones
from tests.music_library import update, vectors_by_name

RATE = tones.TONE_RATE


def test_vectors_are_those_of_the_model_to_the_last_digit(model, music, tmp_path):
    counts = update(model, tmp_path / "lib", music)
    assert counts == Counts(6, 12, 0, 0, 0, 0)
    assert len(vector_shards.paths(tmp_path / "lib")) > 2
    index, asked = atbert_jax.Index(tmp_path / "lib"), atbert_jax.load(model.workdir)
    assert len(index) == 12
    whole = index.recordings()
    for recording, record in enumerate(index.records):
        expected = asked.embed_audio(record.path)[0]
        np.testing.assert_array_equal(whole[index.content[recording]], expected)
    for name, windows in vectors_by_name(index).items():
        sound, _ = soundfile.read(next(music.rglob(name)), dtype="float32")
        for number, window in enumerate(windows):
            part = sound[number * RATE // 2 : (number + 1) * RATE // 2]
            (expected,) = asked.embed_audio(part, sample_rate=RATE)
            np.testing.assert_allclose(window, expected, atol=1e-6)


def test_starts_are_those_of_the_windows(model, music, tmp_path):
    update(model, tmp_path / "lib", music, hop=0.25)
    index = atbert_jax.Index(tmp_path / "lib")
    (three,) = (n for n, record in enumerate(index.records) if record.path.name == "3.wav")
    begin, end = index.windows[index.content[three] :][:2]
    assert index.starts[begin:end].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
    with pytest.raises(ValueError, match=r"windows of another --hop \(0.25\)"):
        update(model, tmp_path / "lib", music, hop=0.5)
    assert update(model, tmp_path / "lib", music).unchanged == 6


def test_nothing_is_heard_twice(model, music, tmp_path, heard):
    update(model, tmp_path / "lib", music)
    before = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    heard.clear()
    assert update(model, tmp_path / "lib", music) == Counts(0, 0, 6, 0, 0, 0)
    (music / "0.wav").rename(music / "deep" / "moved.wav")
    shutil.copy(music / "2.wav", music / "copy.wav")
    os.utime(music / "4.wav")
    assert update(model, tmp_path / "lib", music) == Counts(0, 0, 4, 3, 1, 0)
    assert not heard
    after = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    assert after.keys() == (before.keys() - {"0.wav"}) | {"moved.wav", "copy.wav"}
    np.testing.assert_array_equal(after["moved.wav"], before["0.wav"])
    np.testing.assert_array_equal(after["copy.wav"], before["2.wav"])
    # A touched file is believed by its new time from then on.
    assert update(model, tmp_path / "lib", music).unchanged == 7


def test_what_changed_is_heard_again_and_what_went_is_gone(model, music, tmp_path, heard):
    update(model, tmp_path / "lib", music)
    old = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))["2.wav"]
    soundfile.write(music / "2.wav", np.linspace(-1, 1, RATE // 2), RATE)
    (music / "4.wav").unlink()
    heard.clear()
    assert update(model, tmp_path / "lib", music) == Counts(1, 1, 4, 0, 1, 0)
    assert heard == ["2.wav"]
    found = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    assert len(found) == 5
    assert not np.array_equal(found["2.wav"], old)


def test_what_has_the_size_and_time_of_another_is_heard_again(model, music, tmp_path, heard):
    """As of an archive that is unpacked over it, or a copy that keeps times."""
    update(model, tmp_path / "lib", music)
    old, status = vectors_by_name(atbert_jax.Index(tmp_path / "lib")), (music / "2.wav").stat()
    soundfile.write(music / "2.wav", np.linspace(-1, 1, RATE // 2), RATE)
    os.utime(music / "2.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (music / "2.wav").stat().st_size == status.st_size
    heard.clear()
    assert update(model, tmp_path / "lib", music) == Counts(1, 1, 5, 0, 0, 0)
    assert heard == ["2.wav"]
    new = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    assert not np.array_equal(new["2.wav"], old["2.wav"])


def test_two_that_change_places_keep_their_own_vectors(model, music, tmp_path, heard):
    update(model, tmp_path / "lib", music)
    old = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    (music / "0.wav").rename(music / "x")
    (music / "4.wav").rename(music / "0.wav")
    (music / "x").rename(music / "4.wav")
    heard.clear()
    assert update(model, tmp_path / "lib", music) == Counts(0, 0, 4, 2, 0, 0)
    assert not heard
    new = vectors_by_name(atbert_jax.Index(tmp_path / "lib"))
    np.testing.assert_array_equal(new["0.wav"], old["4.wav"])
    np.testing.assert_array_equal(new["4.wav"], old["0.wav"])


def test_what_changes_while_it_is_read_is_left_out(model, music, tmp_path, monkeypatch):
    """Else what is heard would go by the digest of what was there before."""
    rows = Predictor._rows

    def changing(self, answer):
        if answer.record.path.name == "2.wav":
            soundfile.write(music / "2.wav", np.linspace(-1, 1, RATE // 2), RATE)
        return rows(self, answer)

    monkeypatch.setattr(Predictor, "_rows", changing)
    assert update(model, tmp_path / "lib", music) == Counts(5, 11, 0, 0, 0, 1)
    assert "2.wav: changed while it was read" in (tmp_path / "lib" / "left_out.csv").read_text()
    monkeypatch.setattr(Predictor, "_rows", rows)
    assert update(model, tmp_path / "lib", music) == Counts(1, 1, 5, 0, 0, 0)
    update(model, tmp_path / "whole", music)
    one, other = (vectors_by_name(atbert_jax.Index(tmp_path / n)) for n in ("lib", "whole"))
    np.testing.assert_array_equal(one["2.wav"], other["2.wav"])


def test_a_pipe_is_left_out_and_not_waited_for(model, music, tmp_path):
    os.mkfifo(music / "pipe.wav")
    assert update(model, tmp_path / "lib", music).left_out == 1
    assert "pipe.wav: is no file" in (tmp_path / "lib" / "left_out.csv").read_text()


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "no finite numbers"), (0.0, "0 in every direction")]
)
def test_vectors_that_point_nowhere_are_left_out(model, music, tmp_path, monkeypatch, value, said):
    close = Predictor._close

    def broken(self, answer):
        found = close(self, answer)
        if answer.record.path.name == "3.wav":
            found.chunk_embeddings[:] = value
        return found

    monkeypatch.setattr(Predictor, "_close", broken)
    assert update(model, tmp_path / "lib", music).left_out == 1
    assert f"3.wav: the model gives {said}" in (tmp_path / "lib" / "left_out.csv").read_text()
    assert np.isfinite(np.asarray(atbert_jax.Index(tmp_path / "lib").vectors)).all()
    monkeypatch.setattr(Predictor, "_close", close)
    assert update(model, tmp_path / "lib", music).heard == 1


def test_bad_files_are_named_and_survived(model, music, tmp_path):
    (music / 'bad, "x".wav').write_bytes(b"no sound")
    (music / "worse.wav").write_bytes(b"no sound")
    (music / "deep" / "empty.wav").touch()
    counts = update(model, tmp_path / "lib", music)
    assert (counts.heard, counts.left_out) == (6, 3)
    with (tmp_path / "lib" / "left_out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(Path(row["path"]).name for row in rows)
    assert names == ['bad, "x".wav', "empty.wav", "worse.wav"]
    assert all(row["reason"] for row in rows)
    for path in music.rglob("*[!0-9].wav"):
        path.unlink()
    assert update(model, tmp_path / "lib", music).left_out == 0
    assert not (tmp_path / "lib" / "left_out.csv").exists()


def test_where_nothing_can_be_used_the_first_is_named(model, tmp_path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"none of 1 recordings can be used; .*bad\.wav"):
        update(model, tmp_path / "lib", tmp_path / "music")


def test_a_kill_loses_no_shard(model, music, tmp_path, heard, monkeypatch):
    write, written = vector_shards.write, []

    def killed(*arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*arguments))

    monkeypatch.setattr(vector_shards, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        update(model, tmp_path / "lib", music)
    monkeypatch.setattr(vector_shards, "write", write)
    done = [Path(h.seen.path).name for p in written for h in vector_shards.read_heard(p)]
    assert done
    with pytest.raises(ValueError, match="nothing is indexed here yet; run `atbert index` again"):
        atbert_jax.Index(tmp_path / "lib")
    heard.clear()
    counts = update(model, tmp_path / "lib", music)
    assert not set(done) & set(heard)
    assert counts.unchanged == len(done)
    update(model, tmp_path / "whole", music)
    one, other = (vectors_by_name(atbert_jax.Index(tmp_path / n)) for n in ("lib", "whole"))
    assert one.keys() == other.keys()
    for name, vectors in one.items():
        np.testing.assert_array_equal(vectors, other[name])


def test_names_that_are_no_text_are_kept(model, tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/us\xe9r")
    try:
        Path(place).mkdir()
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    soundfile.write(f"{place}/a.wav".encode(errors="surrogateescape"), np.zeros(RATE), RATE)
    rows = [{"path": "a.wav", "tag": "\udfff", "tags": ["\udfff"]}]
    (Path(place) / "t.json").write_text(json.dumps(rows))
    assert update(model, tmp_path / "lib", Path(place) / "t.json").heard == 1
    index = atbert_jax.Index(tmp_path / "lib")
    assert index.records[0].path == Path(place) / "a.wav"
    assert index.columns["tag"] == index.columns["tags"] == ["\\udfff"]
    assert update(model, tmp_path / "lib", place) == Counts(0, 0, 1, 0, 0, 0)


def test_what_changed_since_is_told(model, music, tmp_path):
    update(model, tmp_path / "lib", music)
    index = atbert_jax.Index(tmp_path / "lib")
    hits = index.search(index.recordings()[0], 10)
    assert not index.changed(hits)
    (music / "0.wav").unlink()
    os.utime(music / "2.wav")
    assert {hit.record.id for hit in index.changed(hits)} == {"0.wav", "2.wav"}


def test_no_number_is_no_hop(model, music, tmp_path):
    for hop in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match="give seconds, or 0"):
            update(model, tmp_path / "lib", music, hop=hop)


def test_a_model_that_cannot_index_claims_nothing(model, music, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "refusal", lambda *_: "it hears nothing")
    with pytest.raises(ValueError, match="an index is of sound: it hears nothing"):
        update(model, tmp_path / "lib", music)
    assert not (tmp_path / "lib" / index_folder.ABOUT).exists()


def test_two_do_not_write_at_once(model, music, tmp_path):
    with (
        lock.held(tmp_path / "lib"),
        pytest.raises(ValueError, match=r"is being written by process .* another --output"),
    ):
        update(model, tmp_path / "lib", music)
