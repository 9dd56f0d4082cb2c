"""Whether probabilities mean what they say: of clips at 0.8, are eight in ten right?"""

from typing import Any

import numpy as np

BINS = 10


def calibration(probability: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The expected calibration error (Naeini et al. 2015), and the bins that it is made of.

    Args:
        probability: (N,) that something holds, as a model says.
        right: (N,) whether it does.

    Returns:
        ece, the mean over all N of the distance between what the model says and the share that is
        right in the same tenth of the probabilities; and bins, those tenths that have any, with
        their mean probability, the share that is right, and count.
    """
    probability, right = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    place = np.clip(np.floor(probability * BINS), 0, BINS - 1).astype(int)
    bins = [
        {
            "probability": float(probability[chosen].mean()),
            "right": float(right[chosen].mean()),
            "count": int(chosen.sum()),
        }
        for number in range(BINS)
        if (chosen := place == number).any()
    ]
    distances = [each["count"] * abs(each["probability"] - each["right"]) for each in bins]
    return {"ece": sum(distances) / len(probability), "bins": bins}
