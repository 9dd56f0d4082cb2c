"""How far a mean could be from the truth by the luck of the draw, and what of it is luck alone."""

import numpy as np
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95
# Resamples that are drawn at a time.
AT_ONCE = 100


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean by the percentile bootstrap (Efron and Tibshirani 1993).

    Where there are several draws, these and the clips are resampled each by themselves, so that the
    interval holds the luck of both (the pigeonhole bootstrap, Owen 2007). Of right and wrong
    answers that are all right, or all wrong, a resample is always the same; they have the score
    interval of Wilson (1927) instead.

    Args:
        values: (N,) of N clips, or (D, N) of D draws; bool are right and wrong answers.

    Raises:
        ValueError: if there are none.
    """
    are_answers = np.asarray(values).dtype == bool
    values = np.atleast_2d(np.asarray(values, np.float64))
    if not values.size:
        raise ValueError("no values to resample")
    draws, clips = values.shape
    if are_answers and values.min() == values.max():
        right = int(values[0].sum())
        found = stats.binomtest(right, clips).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)
    rng, means = np.random.default_rng(0), []
    for _ in range(0, RESAMPLES, AT_ONCE):
        of_draws = rng.multinomial(draws, np.full(draws, 1 / draws), AT_ONCE)
        of_clips = rng.multinomial(clips, np.full(clips, 1 / clips), AT_ONCE)
        means.append(((of_draws @ values) * of_clips).sum(axis=1) / (draws * clips))
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(means), [outside, 100 - outside])
    return float(low), float(high)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The p-value of the exact test of McNemar (1947): do two systems err equally often?

    Of the clips that one of the two alone is right about, each would have half then.

    Args:
        one: (N,) of bool: right or wrong about N clips.
        other: (N,), about the same.
    """
    better, worse = int((one & ~other).sum()), int((~one & other).sum())
    if not better + worse:
        return 1.0
    return float(stats.binomtest(better, better + worse).pvalue)
