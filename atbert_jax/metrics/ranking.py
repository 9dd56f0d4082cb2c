"""How early the right answers of a search come, and how early they would come by chance."""

import numpy as np

DEPTHS = (1, 5, 10)
NAMES = (*(f"recall_at_{depth}" for depth in DEPTHS), "median_rank", "map")


def ranking_metrics(order: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """Measures rankings of C candidates for each of Q queries.

    Args:
        order: (Q, C), for each query all candidates, the best first.
        relevant: (Q, C) of bool, the right answers of each query, one or more.

    Returns:
        recall_at_1, _5 and _10 (the share of queries with a right answer among so many first
        ones), median_rank (of a query's first right answer, from 1 on) and map, the mean over the
        queries of the average precision, for which all right answers count.

    Raises:
        ValueError: on shapes that disagree, no queries, or a query without a right answer.
    """
    relevant = _checked(relevant)
    if order.shape != relevant.shape:
        raise ValueError(f"order {order.shape} and relevant {relevant.shape} must both be (Q, C)")
    hits = np.take_along_axis(relevant, order, axis=1)
    first = hits.argmax(axis=1) + 1
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return {
        **{f"recall_at_{depth}": float((first <= depth).mean()) for depth in DEPTHS},
        "median_rank": float(np.median(first)),
        "map": float(((precision * hits).sum(axis=1) / hits.sum(axis=1)).mean()),
    }


def chance(relevant: np.ndarray) -> dict[str, float]:
    """What `measure` says of random orders: the expected values, and the median of the ranks.

    With R of C candidates right, the first k hold none of them with probability
    (C-R)/C * (C-R-1)/(C-1) * ... (k factors). At place i a hit has R/C, and each of the i-1 places
    before it then (R-1)/(C-1); summed over all places, with H the C-th harmonic number, the
    expected average precision is (H + (R-1)/(C-1) (C-H)) / C.

    Args:
        relevant: (Q, C) of bool.

    Raises:
        ValueError: on no queries, or a query without a right answer.
    """
    relevant = _checked(relevant)
    candidates = relevant.shape[1]
    right, queries = np.unique(relevant.sum(axis=1), return_counts=True)
    share = queries / queries.sum()
    before = np.arange(candidates)[:, None]
    wrong = np.maximum(candidates - right - before, 0) / (candidates - before)
    found = 1 - np.cumprod(wrong, axis=0) @ share  # (C,), among so many first ones and one more
    # Where exactly half of the queries are done after k, the median lies between k and k + 1.
    middle = np.searchsorted(found, [0.5 - 1e-9, 0.5 + 1e-9]) + 1
    harmonic = (1 / (1 + before)).sum()
    other = (right - 1) / max(candidates - 1, 1)
    precision = (harmonic + other * (candidates - harmonic)) / candidates
    return {
        **{f"recall_at_{d}": float(found[min(d, candidates) - 1]) for d in DEPTHS},
        "median_rank": float(middle.mean()),
        "map": float(precision @ share),
    }


def _checked(relevant: np.ndarray) -> np.ndarray:
    relevant = np.asarray(relevant, bool)
    if relevant.ndim != 2 or not relevant.size:
        raise ValueError(f"relevant {relevant.shape} must be (Q, C) with at least one of each")
    if not relevant.any(axis=1).all():
        query = int(relevant.any(axis=1).argmin())
        raise ValueError(f"query {query} has no right answer among {relevant.shape[1]} candidates")
    return relevant
