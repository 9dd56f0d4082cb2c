"""Pickled tables become recordings, whatever pandas wrote them; programs in them do not run."""

import contextlib
import copyreg
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from atbert_jax.input_pipeline.corpora import unpickle
from atbert_jax.input_pipeline.manifest.records import read_manifest

SENTENCES = ["왜 이렇게 늦었어?", "Vad är klockan", "", 'a "quoted", one']
EMOTIONS = ["분노", "중립", "행복", "분노"]


def table(kind: type = np.float32) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-0.5, 0.5, n) for n in (480, 700, 1, 960)]
    if np.issubdtype(kind, np.integer):
        sounds = [sound * 30_000 for sound in sounds]
    return pd.DataFrame(
        {
            "person_ix": [7, 7, 12, 3],
            "audio": [sound.astype(kind) for sound in sounds],
            "Sentence": SENTENCES,
            "Emotion": EMOTIONS,
        }
    )


def write(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("strings", ["str", object])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_a_table_becomes_recordings_and_a_manifest(tmp_path, protocol, strings, kind):
    frame = table(kind).astype({"Sentence": strings, "Emotion": strings})
    path = write(tmp_path / "test.pkl", frame, protocol)
    other = write(tmp_path / "stt.pkl", frame.assign(Sentence=["a", "b", "c", "d"]), protocol)
    folder = tmp_path / "out"
    assert unpickle.convert(path, folder, split="test", also=other) == 4
    records = read_manifest(folder / "manifest.csv")
    assert [record.text for record in records] == SENTENCES
    assert [record.labels for record in records] == [(label,) for label in EMOTIONS]
    assert [record.group for record in records] == [f"person {n}" for n in (7, 7, 12, 3)]
    assert {record.split for record in records} == {"test"}
    recognised = read_manifest(folder / "manifest.csv", text_column="stt")
    assert [record.text for record in recognised] == ["a", "b", "c", "d"]
    for record, sound in zip(records, frame["audio"], strict=True):
        dtype = "int16" if kind is np.int16 else "float32"
        found, rate = soundfile.read(record.path, dtype=dtype)
        assert rate == 48_000
        np.testing.assert_array_equal(found, sound.astype(dtype))


def test_parts_of_a_table_and_big_endian_numbers(tmp_path):
    """A slice of rows and another order of columns; arrays in Fortran's order and byte order."""
    frame = table().iloc[1:3][["Emotion", "audio", "person_ix", "Sentence"]]
    frame = frame.assign(other=[1.5, 2.5], more=[1, 2])
    found = unpickle.read(write(tmp_path / "a.pkl", frame))
    assert list(found["Emotion"]) == EMOTIONS[1:3]
    assert list(found["person_ix"]) == [7, 12]
    assert list(found["other"]) == [1.5, 2.5]
    frame["audio"] = [np.arange(3, dtype=">f4"), np.arange(5, dtype=">i2")]
    found = unpickle.read(write(tmp_path / "b.pkl", frame))
    np.testing.assert_array_equal(found["audio"][0], np.arange(3))
    np.testing.assert_array_equal(found["audio"][1], np.arange(5))


class Old:
    """Writes what pandas 1.0 wrote: a manager that sets its state from blocks by name."""

    def __init__(self, module: str, name: str, state: object) -> None:
        self.module, self.name, self.state = module, name, state


class OldPickler(pickle._Pickler):
    """Puts other names in the place of `Old` objects and of pandas' indexes."""

    def save(self, value: object, save_persistent_id: bool = True) -> None:
        if isinstance(value, Old):
            self.write(f"c{value.module}\n{value.name}\n)\x81".encode("latin1"))
            self.save(value.state)
            self.write(pickle.BUILD)
        elif isinstance(value, pd.Index):
            kind = "range.RangeIndex" if isinstance(value, pd.RangeIndex) else "base.Index"
            package, _, name = kind.partition(".")
            self.write(b"cpandas.core.indexes.base\n_new_Index\n")
            self.write(f"cpandas.core.indexes.{package}\n{name}\n".encode())
            self.save({"data": np.array(list(value), object), "name": None})
            self.write(pickle.TUPLE2 + pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def test_tables_of_pandas_1_0(tmp_path):
    frame = table()
    objects = np.empty((3, len(frame)), object)
    for row, name in enumerate(("audio", "Sentence", "Emotion")):
        objects[row] = list(frame[name])
    numbers = np.array([frame["person_ix"]])
    blocks = [
        {"values": numbers, "mgr_locs": slice(0, 1, 1)},
        {"values": objects, "mgr_locs": np.array([1, 2, 3])},
    ]
    axes = [frame.columns, frame.index]
    values = [block["values"] for block in blocks]
    state = (axes, values, [frame.columns[:1], frame.columns[1:]])
    manager = Old(
        "pandas.core.internals.managers",
        "BlockManager",
        (*state, {"0.14.1": {"axes": axes, "blocks": blocks}}),
    )
    fields = {"_data": manager, "_typ": "dataframe", "_metadata": [], "attrs": {}}
    path = tmp_path / "old.pkl"
    with path.open("wb") as file:
        OldPickler(file, protocol=3).dump(Old("pandas.core.frame", "DataFrame", fields))
    found = unpickle.read(path)
    assert list(found) == list(frame.columns)
    for name in ("person_ix", "Sentence", "Emotion"):
        assert list(found[name]) == list(frame[name])
    for sound, expected in zip(found["audio"], frame["audio"], strict=True):
        np.testing.assert_array_equal(sound, expected)


class Call:
    """Unpickles into a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch {}",)), (eval, ("open({!r}, 'w')",)), (open, ("{}", "w"))],
)
def test_a_program_is_refused_by_name_and_not_run(tmp_path, protocol, function, arguments):
    trap = tmp_path / "trap"
    call = Call(function, *(each.format(str(trap)) for each in arguments))
    # By itself, and in a cell of a table.
    for number, value in enumerate((call, table().assign(Sentence=[call] * 4))):
        path = write(tmp_path / f"{number}.pkl", value, protocol)
        with pytest.raises(unpickle.UnpickleError, match=f"{number}.pkl: it wants .*no part of a"):
            unpickle.read(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "stream",
    [
        b"cpandas.core.frame\nDataFrame.to_pickle\n.",
        b"\x80\x04\x8c\x06pandas\x8c\x0feval.__globals__\x93.",
        b"cpandas\nread_pickle\n(Vfile\ntR.",
        b"cnumpy\nload\n(Vfile\ntR.",
        b"\x80\x02\x82\x01.",
        b"Psome\n.",
    ],
)
def test_names_near_those_of_tables_and_other_ways_out_are_refused(tmp_path, stream):
    copyreg.add_extension("os", "system", 1)
    try:
        path = tmp_path / "a.pkl"
        path.write_bytes(stream)
        with pytest.raises(unpickle.UnpickleError, match=r"a\.pkl: (it wants|no DataFrame)"):
            unpickle.read(path)
    finally:
        copyreg.remove_extension("os", "system", 1)


def test_a_bytearray_of_a_number_is_refused(tmp_path):
    """It would take as much memory as the file likes."""
    path = tmp_path / "zeros.pkl"
    path.write_bytes(b"cbuiltins\nbytearray\n(I100000000000\ntR.")
    with pytest.raises(unpickle.UnpickleError, match=r"zeros\.pkl: .*bytearray that is not"):
        unpickle.read(path)


def test_raw_bytes_never_become_objects(tmp_path):
    """An array of objects whose content is bytes would be one of addresses."""
    forged = unpickle.Array()
    forged.state = (1, (8,), unpickle.Dtype("O8"), False, struct.pack("Q", 0xDEAD))
    assert forged.values.tolist() == list(struct.pack("Q", 0xDEAD))
    for name in ("V8", "O4", "i8,O", "M8[ns]"):
        with pytest.raises(unpickle.UnpickleError, match="has no place in a table"):
            _ = unpickle.Dtype(name).numbers


def test_damaged_pickles_are_refused_whatever_the_damage(tmp_path):
    whole = pickle.dumps(table(), protocol=4)
    rng = np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)])
        with contextlib.suppress(unpickle.UnpickleError):
            unpickle.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="Emotion"), "has no column Emotion, but person_ix, audio"),
        (lambda t: t.assign(audio="x.wav"), "row 0, column audio: no 1-D array of floats"),
        (lambda t: t.assign(audio=[np.zeros((2, 2))] * 4), "row 0, column audio"),
        (lambda t: {"person_ix": [1]}, "something else than a DataFrame"),
    ],
)
def test_other_tables_are_refused_with_the_place(tmp_path, change, message):
    path = write(tmp_path / "a.pkl", change(table()))
    with pytest.raises(unpickle.UnpickleError, match=f"a.pkl: .*{message}"):
        unpickle.convert(path, tmp_path / "out")


def test_sentences_of_other_records_are_refused(tmp_path):
    path = write(tmp_path / "a.pkl", table())
    also = write(tmp_path / "b.pkl", table().assign(person_ix=[1, 2, 3, 4]))
    with pytest.raises(unpickle.UnpickleError, match="column person_ix is not that of"):
        unpickle.convert(path, tmp_path / "out", also=also)


def test_the_command(tmp_path, capsys):
    path = write(tmp_path / "a.pkl", table())
    unpickle.main([str(path), str(tmp_path / "out"), "--rate=16000"])
    assert capsys.readouterr().out == f"4 recordings: {tmp_path / 'out' / 'manifest.csv'}\n"
    assert soundfile.info(tmp_path / "out" / "audio" / "00000.wav").samplerate == 16_000
    with pytest.raises(SystemExit, match=r"^error: .*gone\.pkl"):
        unpickle.main([str(tmp_path / "gone.pkl"), str(tmp_path / "out")])
