"""An index in memory: exact search by one matrix product over unit vectors."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from atbert_jax import choices
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import tidy
from atbert_jax.library import index_folder, vector_shards
from atbert_jax.library.index_folder import REMEDY, Made
from atbert_jax.library.vector_shards import TINY, key
from atbert_jax.training.trained import Trained

# Between several values in a cell of a manifest.
SEPARATOR = "|"
# What JAX takes without a copy begins at such an address.
ALIGNMENT = 64


@dataclasses.dataclass(frozen=True)
class Hit:
    """A window that was found.

    Attributes:
        record: The recording, with its path.
        start: Of the window, in seconds of the file.
        duration: Of the window, in seconds; its end may be padding.
        score: Cosine with the query.
        columns: What the manifests say of the recording.
    """

    record: Record
    start: float
    duration: float
    score: float
    columns: Mapping[str, str]

    @property
    def window(self) -> Record:
        """What was found, as a stretch of its file."""
        return dataclasses.replace(self.record, start=self.start, duration=self.duration)


class Index:
    """R recordings in N windows, ready to be searched.

    Args:
        folder: That `atbert index` wrote.

    Attributes:
        folder: Of the index.
        made: What made it.
        vectors: (N, D), float32, of length 1; those of a recording stand together.
        starts: (N,), where windows begin, in seconds of their files.
        windows: (C + 1,), where the windows of each of C contents begin; the last one is N.
        seconds: (C,) that there are of each.
        content: (R,), which content each recording has: copies have the same.
        records: (R,), with absolute paths.
        seen: (R,), their files as they were when they were heard.
        columns: (R,) what the manifests say, by the names of their columns.
        is_nowhere: (N,), bool: windows that are 0 in every direction, and near to nothing.

    Raises:
        ValueError: if it is no index, or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.made = Made.load(self.folder)
        files = index_folder.read_files(self.folder)
        self.records, self.seen, self.columns = files.records, files.seen, files.columns
        by = self.made.mark
        both = zip(self.seen, self.records, strict=True)
        self._load([key(by, seen, record.start, record.duration) for seen, record in both])

    def _load(self, keys: Sequence[tuple]) -> None:
        """Reads the vectors of the contents that are asked for, each once."""
        wanted, shards, counts, seconds = set(keys), {}, [], []
        place: dict[tuple, int] = {}
        for path in vector_shards.paths(self.folder):
            for number, heard in enumerate(vector_shards.read_heard(path)):
                if heard.key in wanted and heard.key not in place:
                    place[heard.key] = len(counts)
                    counts.append(heard.windows)
                    seconds.append(heard.seconds)
                    shards.setdefault(path, set()).add(number)
        if lost := wanted - place.keys():
            raise ValueError(
                f"{self.folder}: the vectors of {len(lost)} recordings are not there; {REMEDY}"
            )
        self.content = np.array([place[key] for key in keys])
        self.windows = np.concatenate([[0], np.cumsum(counts)])
        self.seconds, self.starts = np.array(seconds), np.empty(self.windows[-1])
        vectors, end = np.empty((0, 0), np.float32), 0
        self._shards, self.is_nowhere = shards, np.zeros(self.windows[-1], bool)
        for path, chosen in shards.items():
            shard = vector_shards.read(path)
            if not end:
                vectors = _aligned(int(self.windows[-1]), shard.vectors.shape[1])
            if shard.vectors.shape[1] != vectors.shape[1]:
                raise whole_file.DamagedFileError(
                    f"{path}: its vectors have another width than others; {vector_shards.REMEDY}"
                )
            sizes = [heard.windows for heard in shard.heard]
            keep = np.repeat([number in chosen for number in range(len(sizes))], sizes)
            begin, end = end, end + int(keep.sum())
            self.starts[begin:end] = shard.starts[keep]
            vectors[begin:end] = shard.vectors[keep]
            self.is_nowhere[begin:end] = ~_make_unit(vectors[begin:end])
        self.vectors = jnp.asarray(vectors)

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}; {len(self.records)} recordings, {len(self)} windows)"

    def __len__(self) -> int:
        """Number of windows, N."""
        return int(self.windows[-1])

    def require(self, model: Trained) -> None:
        """Refuses a model that is not the one that made the index.

        Raises:
            ValueError: saying which did.
        """
        self.made.require(model, self.folder)

    def where(self, conditions: Mapping[str, str]) -> np.ndarray:
        """(R,), bool: the recordings whose columns have these values.

        Args:
            conditions: Value by column; of a cell with several, as of tags, one is enough.

        Raises:
            ValueError: if the index has no such column.
        """
        keep = np.ones(len(self.records), bool)
        for name, value in conditions.items():
            if not self.columns:
                raise ValueError(
                    f"{self.folder}: has no columns to choose by; make an index of a manifest"
                )
            wanted = tidy(value)
            keep &= [
                wanted in (tidy(cell), *map(tidy, cell.split(SEPARATOR)))
                for cell in self.columns[self._column(name)]
            ]
        return keep

    def _column(self, name: str) -> str:
        alike = [each for each in self.columns if tidy(each) == tidy(name)]
        if name not in self.columns and len(alike) == 1:  # typed in another way
            return alike[0]
        return choices.require("column", name, self.columns)

    def search(
        self,
        query: np.ndarray,
        top: int = 10,
        *,
        where: Mapping[str, str] | None = None,
        each_window: bool = False,
    ) -> list[Hit]:
        """The recordings that are nearest to a query, by their nearest windows, the nearest first.

        Args:
            query: (D,) or (1, D), of a text or a clip, by the model that made the index.
            top: How many.
            where: Value by column of the manifest; others are left out.
            each_window: Give all windows that are near, also of one recording.

        Raises:
            ValueError: if the query is not of the index's kind, there is no such column, or `top`
                is below 1.
        """
        if top < 1:
            raise ValueError(f"top={top}; ask for one at least")
        cosines = self.cosines(query)
        allowed = self.where(where or {})
        if not each_window:
            best = np.maximum.reduceat(cosines, self.windows[:-1])
            scores = np.where(allowed, best[self.content], -np.inf)
            found = [(self._best_window(r, cosines), r) for r in _top(scores, top)]
            return [self.hit(window, r, cosines[window]) for window, r in found]
        of_content: dict[int, list[int]] = {}
        for recording in np.flatnonzero(allowed):
            of_content.setdefault(int(self.content[recording]), []).append(int(recording))
        sizes = np.diff(self.windows)
        is_allowed = np.repeat(np.isin(np.arange(len(sizes)), list(of_content)), sizes)
        hits = []
        for window in _top(np.where(is_allowed, cosines, -np.inf), top):
            recordings = of_content[self.content_of(window)]
            hits += [self.hit(window, r, cosines[window]) for r in recordings]
        return hits[:top]

    def cosines(self, query: np.ndarray) -> np.ndarray:
        """(N,), float32: of each window with a query (D,) or (1, D).

        A window that is 0 in every direction is near to nothing: it has -inf, and is never found.

        Raises:
            ValueError: if the query has another width, or is no direction.
        """
        vector = np.asarray(query, np.float32).reshape(-1)
        if vector.size != self.vectors.shape[1] or not np.isfinite(vector).all():
            raise ValueError(
                f"a query is one vector of {self.vectors.shape[1]} finite numbers, not of shape"
                f" {np.shape(query)}; embed it by the model that made {self.folder}"
            )
        length = np.linalg.norm(vector)
        if length < TINY:
            raise ValueError("the query is 0 in every direction, so nothing is nearer than another")
        cosines = self.project(vector / length)
        return np.where(self.is_nowhere, -np.inf, cosines) if self.is_nowhere.any() else cosines

    def project(self, direction: np.ndarray) -> np.ndarray:
        """(N,), float32: the product of each window's vector with a direction (D,)."""
        return np.asarray(_product(self.vectors, np.asarray(direction, np.float32)))

    def content_of(self, window: int) -> int:
        """Which content a window is of."""
        return int(np.searchsorted(self.windows, window, side="right")) - 1

    def changed(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those whose files are gone, or have changed since they were heard."""
        seen = {each.path: each for each in self.seen}
        return [hit for hit in hits if not seen[str(hit.record.path)].is_there()]

    def recordings(self) -> np.ndarray:
        """(C, D), float32: one vector of length 1 for each content, as `embed_audio` gives it."""
        found = []
        for path, chosen in self._shards.items():
            shard = vector_shards.read(path)
            ends = np.cumsum([heard.windows for heard in shard.heard])
            for number, part in enumerate(np.split(shard.vectors, ends[:-1])):
                if number in chosen:
                    found.append(np.mean(list(part), axis=0))
        means = np.stack(found)
        _make_unit(means)
        return means

    def _best_window(self, recording: int, cosines: np.ndarray) -> int:
        begin, end = self.windows[self.content[recording] :][:2]
        return int(begin + cosines[begin:end].argmax())

    def hit(self, window: int, recording: int, score: float) -> Hit:
        """A window as it is in one of the recordings that have its content."""
        seconds = self.made.seconds
        if seconds is None:
            seconds = float(self.seconds[self.content[recording]])
        columns = {name: cells[recording] for name, cells in self.columns.items()}
        start = float(self.starts[window])
        return Hit(self.records[recording], start, seconds, float(score), columns)


def combined(wanted: np.ndarray, unwanted: np.ndarray | None = None) -> np.ndarray:
    """One query of several: near to all that is wanted, and not at all in what is unwanted.

    What is unwanted is taken out as a subspace, after which the query has the cosine 0 with each of
    its vectors (Widdows, "Orthogonal Negation in Vector Spaces", ACL 2003); nothing has to be
    weighed, and a query that has no part in it stays as it is.

    Args:
        wanted: (P, D), of length 1 each.
        unwanted: (Q, D), or None.

    Returns:
        (D,), of length 1.

    Raises:
        ValueError: if nothing is left of it.
    """
    query = np.asarray(wanted, np.float64).mean(axis=0)
    if unwanted is not None and len(unwanted):
        _, sizes, basis = np.linalg.svd(np.asarray(unwanted, np.float64), full_matrices=False)
        basis = basis[sizes > 1e-6 * sizes.max()]
        query = query - basis.T @ (basis @ query)
    length = np.linalg.norm(query)
    if length < 1e-6:
        raise ValueError("what is asked for is all in what is left out, so nothing is left to find")
    return (query / length).astype(np.float32)


@jax.jit
def _product(vectors: jax.Array, query: jax.Array) -> jax.Array:
    return jnp.matmul(vectors, query, precision=jax.lax.Precision.HIGHEST)


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    """The places of the highest scores, the highest first, the first of equals; none of -inf."""
    count = min(count, len(scores))
    near = scores >= np.partition(scores, -count)[-count] if count else np.zeros(0, bool)
    found = np.flatnonzero(near & (scores > -np.inf)) if count else np.empty(0, int)
    return found[np.argsort(-scores[found], kind="stable")][:count]


def _aligned(rows: int, columns: int) -> np.ndarray:
    """An array (rows, columns), float32, which JAX on a CPU takes as it lies."""
    size = rows * columns * 4
    raw = np.empty(size + ALIGNMENT, np.uint8)
    begin = -raw.ctypes.data % ALIGNMENT
    return raw[begin : begin + size].view(np.float32).reshape(rows, columns)


def _make_unit(vectors: np.ndarray) -> np.ndarray:
    """Makes the rows of an array (N, D) of length 1, in their place.

    Returns:
        (N,), whether they are; others are 0 in every direction.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, np.maximum(lengths, TINY), out=vectors)
    return lengths[:, 0] >= TINY
