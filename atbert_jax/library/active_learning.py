"""Which window to ask a listener about next: those of which a linear head is most and least sure.

In turns: the least sure ones teach the head most (uncertainty sampling; Lewis and Gale, "A
Sequential Algorithm for Training Text Classifiers", SIGIR 1994), the surest ones find more of what
is rare, and show where the head is sure and wrong. Before there are examples of both kinds, those
that are nearest to a query are asked about, and some that are drawn at random.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import ThreadpoolController

from atbert_jax.evaluation import linear_fit
from atbert_jax.library.embedding_index import Index

YES, NO, SKIP = "yes", "no", "skip"
# Why a window is asked about.
NEAR, DRAWN, SURE, UNSURE = "near to the query", "drawn at random", "most sure", "least sure"
# Deviations below this share of the largest one are none: the direction is the same everywhere.
FLAT = 1e-4


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A window to ask about.

    Attributes:
        window: Its number in the index.
        reason: Why this one.
        probability: That it is what is sought, by the head; None where there is none yet.
    """

    window: int
    reason: str
    probability: float | None


class Sampler:
    """Proposes windows of an index, by what was said of others.

    What it proposes depends on the index, the query and what was said alone: after an answer is
    taken back, or a process was killed, it proposes the same again.

    Args:
        index: With N windows.
        query: (D,) to begin with; None begins with what was said.

    Raises:
        ValueError: if the query is none of this index.
    """

    def __init__(self, index: Index, query: np.ndarray | None = None) -> None:
        self.index = index
        self._near = None if query is None else index.cosines(query)
        mean, deviation = map(np.asarray, _moments(index.vectors))
        # Vectors of a model can lie within a narrow cone, whose directions matter all the same.
        self._mean, self._deviation = mean, np.maximum(deviation, FLAT * deviation.max())
        self._deviation = np.where(self._deviation > 0, self._deviation, 1)
        self._threads = ThreadpoolController()

    def logits(self, said: Mapping[int, str]) -> np.ndarray | None:
        """(N,), of the head that what was said makes; None without examples of both kinds."""
        windows = [window for window, says in said.items() if says != SKIP]
        targets = np.array([[float(said[window] == YES)] for window in windows])
        if not windows or targets.min() == targets.max():
            return None
        values = (self._vectors(windows) - self._mean) / self._deviation
        # The matrices are small, and threads that wait for each other take thirty times as long.
        with self._threads.limit(limits=1, user_api="blas"):
            features = linear_fit.Features(values)
            kernel, (bias,) = linear_fit.fit(
                features.rotated, targets, "multi_label", linear_fit.DEFAULT_PENALTY
            )
            direction = features.weights(kernel)[:, 0] / self._deviation
        return self.index.project(direction) + (bias - self._mean @ direction)

    def propose(self, said: Mapping[int, str], allowed: np.ndarray) -> Proposal | None:
        """The window to ask about next, or None where all are said.

        Args:
            said: YES, NO or SKIP by window, in the order in which it was said.
            allowed: (N,), bool: windows that may be asked about.

        Raises:
            ValueError: if there is neither a query nor an example to begin with.
        """
        free = allowed & ~self.index.is_nowhere
        free[list(said)] = False
        if not free.any():
            return None
        free = self._elsewhere(free, said)
        is_even = len(said) % 2 == 0
        logits = self.logits(said)
        if logits is not None:
            scores = logits if is_even else -np.abs(logits)
            window = _best(scores, free)
            chance = float(1 / (1 + np.exp(-np.clip(logits[window], -50, 50))))
            return Proposal(window, SURE if is_even else UNSURE, chance)
        yes = [window for window, says in said.items() if says == YES]
        if yes and not is_even:  # others are needed, and what is drawn seldom is what is sought
            # The first of an order of all that is free: the same one, whatever else is not.
            order = np.random.default_rng(len(said)).permutation(len(free))
            return Proposal(int(order[free[order].argmax()]), DRAWN, None)
        return Proposal(_best(self._nearness(yes), free), NEAR, None)

    def _elsewhere(self, free: np.ndarray, said: Mapping[int, str]) -> np.ndarray:
        """Without the recording that was heard last, where there are others: it says little new."""
        if not said:
            return free
        content = self.index.content_of(next(reversed(said)))
        begin, end = self.index.windows[content : content + 2]
        others = free.copy()
        others[begin:end] = False
        return others if others.any() else free

    def _nearness(self, yes: list[int]) -> np.ndarray:
        if self._near is not None:
            return self._near
        if not yes:
            raise ValueError(
                'nothing to begin with; give a text, as "sad piano", or a file to be like'
            )
        return self.index.cosines(self._vectors(yes).mean(axis=0))

    def _vectors(self, windows: list[int]) -> np.ndarray:
        """(K, D) of some windows."""
        # As many as a power of two, so that not each number of them is compiled.
        rows = np.zeros(max(64, 1 << (len(windows) - 1).bit_length()), int)
        rows[: len(windows)] = windows
        return np.asarray(self.index.vectors[rows])[: len(windows)]


def _best(scores: np.ndarray, free: np.ndarray) -> int:
    """The window with the highest score of those that are free, the first of equals."""
    return int(np.where(free, scores, -np.inf).argmax())


@jax.jit
def _moments(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.mean(vectors, axis=0), jnp.std(vectors, axis=0)
