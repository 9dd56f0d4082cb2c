"""Search: the nearest come first, as a plain product says, and what is unwanted stays away."""

import dataclasses
import json
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors import numpy as safetensors

import atbert_jax
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.library import index_folder, near_duplicates, vector_shards
from atbert_jax.library.embedding_index import _top, combined
from atbert_jax.library.index_folder import Files, Made
from atbert_jax.library.vector_shards import Heard, Seen, Shard

WIDTH = 5
BY = Made("/runs/one", 1, "digest", None, 2.0)


def write_index(folder: Path, vectors: dict[str, np.ndarray], copies=(), **columns) -> Path:
    """An index of files by name with their windows (K, 5), in shards of three files."""
    BY.save(folder)
    seen, items = {}, list(vectors.items())
    for number in range(0, len(items), 3):
        heard, starts = [], []
        for name, windows in items[number : number + 3]:
            seen[name] = Seen(f"/music/{name}", 1, 1, f"digest of {name}")
            heard.append(Heard(seen[name], 0.0, None, 2.0 * len(windows), len(windows), BY.mark))
            starts.append(2.0 * np.arange(len(windows)))
        parts = np.concatenate([windows for _, windows in items[number : number + 3]])
        shard = Shard(heard, np.concatenate(starts), parts.astype(np.float32))
        vector_shards.write(folder, shard)
    names = [*vectors, *(copy for copy, _ in copies)]
    records = [Record(name, Path(f"/music/{name}")) for name in names]
    files = [seen[name] for name in [*vectors, *(of for _, of in copies)]]
    files = [
        dataclasses.replace(each, path=str(r.path)) for r, each in zip(records, files, strict=True)
    ]
    index_folder.write_files(folder, Files(records, files, columns))
    return folder


@pytest.fixture
def vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = (3, 1, 4, 2, 1, 5, 2)
    return {f"{n}.wav": 7 * rng.normal(size=(size, WIDTH)) for n, size in enumerate(sizes)}


def expected(vectors, query) -> list[tuple[float, str, float]]:
    """(cosine, name, start) of all windows, the nearest first."""
    found = []
    for name, windows in vectors.items():
        cosines = windows @ query / np.linalg.norm(windows, axis=1) / np.linalg.norm(query)
        found += [(cosine, name, 2.0 * n) for n, cosine in enumerate(cosines)]
    return sorted(found, reverse=True)


def seen_in(hits) -> list[tuple[str, float]]:
    return [(hit.record.id, hit.start) for hit in hits]


def test_the_nearest_windows_come_first(vectors, tmp_path):
    index = atbert_jax.Index(write_index(tmp_path / "lib", vectors))
    for query in np.random.default_rng(1).normal(size=(5, WIDTH)):
        wanted = expected(vectors, query)
        hits = index.search(query, 6, each_window=True)
        assert seen_in(hits) == [(name, start) for _, name, start in wanted[:6]]
        scores = [hit.score for hit in hits]
        assert scores == pytest.approx([score for score, _, _ in wanted[:6]], abs=1e-6)
        best = {}
        for _, name, start in wanted:
            best.setdefault(name, start)
        assert seen_in(index.search(query[None], 3)) == list(best.items())[:3]
        assert seen_in(index.search(query, 100)) == list(best.items())
    hit = index.search(query, 1)[0]
    assert (hit.window.start, hit.window.duration) == (hit.start, 2.0)


def test_a_copy_is_found_beside_what_it_is_of(vectors, tmp_path):
    folder = write_index(tmp_path / "lib", vectors, [("copy.wav", "2.wav")])
    index = atbert_jax.Index(folder)
    assert len(index) == 18
    query = vectors["2.wav"][3]
    assert seen_in(index.search(query, 2)) == [("2.wav", 6.0), ("copy.wav", 6.0)]
    each = index.search(query, 2, each_window=True)
    assert seen_in(each) == [("2.wav", 6.0), ("copy.wav", 6.0)]


def test_columns_choose_among_them(vectors, tmp_path):
    columns = {"genre": list("abaabab"), "tags": ["slow|sad", "slow", "sad", "", "", "", "x=y"]}
    index = atbert_jax.Index(write_index(tmp_path / "lib", vectors, **columns))
    query = np.ones(WIDTH)
    assert {h.record.id for h in index.search(query, where={"tags": "sad"})} == {"0.wav", "2.wav"}
    both = index.search(query, where={"genre": "b", "tags": "slow"}, each_window=True)
    assert {hit.record.id for hit in both} == {"1.wav"}
    assert both[0].columns == {"genre": "b", "tags": "slow"}
    assert index.search(query, where={"tags": "x=y"})
    assert not index.search(query, where={"genre": "c"})
    assert not index.search(query, where={"genre": "c"}, each_window=True)
    with pytest.raises(ValueError, match=r"column='gerne' is none of genre, tags.*'genre'"):
        index.search(query, where={"gerne": "a"})
    plain = atbert_jax.Index(write_index(tmp_path / "plain", vectors))
    with pytest.raises(ValueError, match="has no columns to choose by"):
        plain.search(query, where={"genre": "a"})


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (np.ones(4), r"one vector of 5 finite numbers, not of shape \(4,\)"),
        (np.ones((2, 5)), r"not of shape \(2, 5\)"),
        (np.full(5, np.nan), "finite"),
        (np.zeros(5), "0 in every direction"),
    ],
)
def test_what_is_no_query_is_refused(vectors, tmp_path, query, said):
    index = atbert_jax.Index(write_index(tmp_path / "lib", vectors))
    with pytest.raises(ValueError, match=said):
        index.search(query)


def test_what_is_unwanted_is_taken_out():
    rng = np.random.default_rng(2)
    wanted, unwanted = (rng.normal(size=(n, 8)) for n in (2, 2))
    query = combined(wanted, unwanted)
    assert np.linalg.norm(query) == pytest.approx(1)
    np.testing.assert_allclose(unwanted @ query, 0, atol=1e-6)
    # The same thing twice is out once.
    np.testing.assert_allclose(combined(wanted, unwanted[[0, 1, 1]]), query, atol=1e-6)
    same = combined(np.eye(8)[:1], np.eye(8)[3:4])
    np.testing.assert_array_equal(same, np.eye(8)[0])
    with pytest.raises(ValueError, match="nothing is left to find"):
        combined(unwanted[:1], 3 * unwanted[:1])


def test_the_first_of_equals_comes_first():
    scores = np.array([1.0, 3, 2, 3, -np.inf, 2, 2])
    assert _top(scores, 4).tolist() == [1, 3, 2, 5]
    assert _top(scores, 9).tolist() == [1, 3, 2, 5, 6, 0]


def test_duplicates_are_copies_and_what_is_near(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    vectors = {f"{n}.wav": rng.normal(size=(2, WIDTH)) for n in range(6)}
    vectors["4.wav"] = 0.5 * vectors["1.wav"] + 1e-3
    vectors["5.wav"] = vectors["4.wav"] + 1e-3
    folder = write_index(tmp_path / "lib", vectors, [("copy.wav", "2.wav")])
    index = atbert_jax.Index(folder)
    near, copies = near_duplicates.groups(index, 0.999)
    assert [member.record.id for member in near] == ["1.wav", "4.wav", "5.wav"]
    assert [member.is_copy for member in near] == [True, False, False]
    assert near[0].cosine == pytest.approx(1)
    assert 0.999 < near[2].cosine < 1
    assert [member.record.id for member in copies] == ["2.wav", "copy.wav"]
    assert all(member.is_copy for member in copies)
    assert near_duplicates.groups(index, 2) == [copies]
    # In blocks of two rows, the last one not full.
    monkeypatch.setattr(near_duplicates, "BLOCK", 13)
    assert near_duplicates.groups(index, 0.999) == [near, copies]
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 3)
    with pytest.raises(ValueError, match=r"--threshold=-1 or above, so it tells nothing apart"):
        near_duplicates.groups(index, -1)


def test_a_window_that_points_nowhere_is_never_found(vectors, tmp_path):
    vectors["0.wav"][1], vectors["1.wav"][:] = 0, 0
    index = atbert_jax.Index(write_index(tmp_path / "lib", vectors))
    query = -np.sum([windows.sum(0) for windows in vectors.values()], axis=0)
    assert "1.wav" not in {hit.record.id for hit in index.search(query, 100)}
    hits = index.search(query, 100, each_window=True)
    assert len(hits) == len(index) - 2
    assert ("0.wav", 2.0) not in seen_in(hits)


def test_a_column_is_found_however_it_was_typed(vectors, tmp_path):
    name = unicodedata.normalize("NFD", "café")
    folder = write_index(tmp_path / "lib", vectors, **{name: ["a=b", '"q"', "", "", "", "", "é"]})
    index = atbert_jax.Index(folder)
    for value, place in (("a=b", 0), ('"q"', 1), (unicodedata.normalize("NFD", "é"), 6)):
        assert np.flatnonzero(index.where({"café": value})).tolist() == [place]


def test_no_number_is_no_threshold(vectors, tmp_path):
    index = atbert_jax.Index(write_index(tmp_path / "lib", vectors))
    with pytest.raises(ValueError, match="--threshold=nan; give a cosine"):
        near_duplicates.groups(index, np.nan)
    with pytest.raises(ValueError, match="top=-1; ask for one at least"):
        index.search(np.ones(WIDTH), -1)


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": 5},
        {"checkpoint": "hub:someone/model"},
        {"checkpoint": "runs/one"},
        {"hop": [1]},
        {"hop": -1},
        {"seconds": float("nan")},
        {"step": "3"},
        {"model": None},
        {"more": 1},
    ],
)
def test_an_index_that_says_what_cannot_be_is_refused(vectors, tmp_path, changes):
    file = write_index(tmp_path / "lib", vectors) / index_folder.ABOUT
    about = json.loads(file.read_text())
    del about["checksum"]  # as by hand
    file.write_text(json.dumps(about | changes))
    with pytest.raises(ValueError, match=r"index\.json: is of no index .*; make a new one"):
        atbert_jax.Index(tmp_path / "lib")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("path", None),
        ("path", "../../music/a.wav"),
        ("path", "/music/../a.wav"),
        ("path", "/music/a\0.wav"),
        ("id", None),
        ("digest", ["a"]),
        ("size", "x"),
        ("start", float("nan")),
        ("duration", -1.0),
        ("column/genre", None),
    ],
)
def test_files_that_cannot_be_are_refused(vectors, tmp_path, name, cell):
    folder = write_index(tmp_path / "lib", vectors, genre=list("abaabab"))
    file = folder / index_folder.FILES
    table = parquet.read_table(file)
    cells = pa.array([cell] * len(vectors))
    place = table.column_names.index(name)
    parquet.write_table(table.set_column(place, name, cells), file)
    with pytest.raises(ValueError, match=r"(?s)files\.parquet: is damaged .*; run `atbert index`"):
        atbert_jax.Index(folder)


@pytest.mark.parametrize("rows", [0, 10**7])
def test_as_many_files_as_cannot_be_are_refused(vectors, tmp_path, rows):
    file = write_index(tmp_path / "lib", vectors) / index_folder.FILES
    table = parquet.read_table(file).slice(0, 1)
    parquet.write_table(table.take(np.zeros(rows, int)), file)
    with pytest.raises(ValueError, match=f"it announces {rows} recordings"):
        atbert_jax.Index(tmp_path / "lib")


def rewrite(path: Path, heard=None, **arrays: np.ndarray) -> None:
    """A shard of other content that is whole."""
    shard = vector_shards.read(path)
    arrays = {"starts": shard.starts, "vectors": shard.vectors} | arrays
    about = [dataclasses.asdict(each) for each in shard.heard]
    about[0] |= heard or {}
    text = json.dumps(about)
    digest = vector_shards._digest(text, arrays["starts"], arrays["vectors"])
    path.write_bytes(safetensors.save(arrays, metadata={"heard": text, "digest": digest}))


@pytest.mark.parametrize(
    "changes",
    [
        {"heard": {"windows": 10**12}},  # of which room is made
        {"heard": {"windows": -3}},
        {"heard": {"windows": "3"}},
        {"heard": {"seconds": "x"}},
        {"heard": {"start": [0]}},
        {"heard": {"by": None}},
        {"heard": {"seen": 5}},
        {"vectors": np.zeros(8, np.float32)},
        {"vectors": np.zeros((8, WIDTH))},
        {"vectors": np.zeros((8, 3), np.float32)},
        {"vectors": np.zeros((8, 0), np.float32)},
        {"vectors": np.full((8, WIDTH), np.nan, np.float32)},
        {"starts": np.full(8, np.nan)},
        {"starts": np.zeros((8, 2))},
    ],
)
def test_a_shard_that_cannot_be_is_refused_by_its_name(vectors, tmp_path, changes):
    path = vector_shards.paths(write_index(tmp_path / "lib", vectors))[0]
    rewrite(path, **changes)
    with pytest.raises(
        whole_file.DamagedFileError, match=r"00000\d\.safetensors.*; remove it, and"
    ):
        atbert_jax.Index(tmp_path / "lib")


def test_what_a_shard_says_is_not_changed_by_accident(vectors, tmp_path):
    path = vector_shards.paths(write_index(tmp_path / "lib", vectors))[0]
    whole = path.read_bytes()
    for old, new in ((b"/music/0.wav", b"/music/9.wav"), (b"digest of 0", b"digest of 1")):
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(whole_file.DamagedFileError, match="has changed since it was written"):
            vector_shards.read(path)
    path.write_bytes(whole)
    (path.parent / "000000 (copy).safetensors").write_bytes(whole)  # as file managers make them
    assert vector_shards.write(tmp_path / "lib", vector_shards.read(path)).stem == "000003"
    assert len(atbert_jax.Index(tmp_path / "lib")) == 18


def test_a_program_in_the_place_of_a_shard_is_not_run(vectors, tmp_path):
    class Program:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was run",)

    path = vector_shards.paths(write_index(tmp_path / "lib", vectors))[0]
    path.write_bytes(pickle.dumps(Program()))
    with pytest.raises(whole_file.DamagedFileError, match=r"000000\.safetensors: is damaged"):
        atbert_jax.Index(tmp_path / "lib")
    assert not (tmp_path / "was run").exists()
