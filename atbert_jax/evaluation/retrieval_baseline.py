"""What a search has to beat: MFCC statistics mapped to the words of captions, in closed form.

Ridge regression from the statistics of clips of the training split to the TF-IDF weights of their
captions' letters, two to four in a row within a word, which all writing systems have.
"""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from sklearn.feature_extraction.text import TfidfVectorizer

from atbert_jax.evaluation import baseline
from atbert_jax.input_pipeline.dataset import Dataset, Split

# Runs of letters that count, the commonest ones.
MOST_WORDS = 2048


def similarity(
    dataset: Dataset, split: Split, rows: Sequence[int], texts: Sequence[str], console: Console
) -> np.ndarray | None:
    """Cosines (N, U) of clips and texts, both as they differ from the mean of the training split.

    Args:
        dataset: With captions in 'train'.
        split: That the clips are of.
        rows: (N,) their numbers in it; one that cannot be read is like no text.
        texts: U of them.
        console: Where to talk.

    Returns:
        None where no clip of 'train' that can be read has a caption with a word in it.
    """
    train = dataset.split("train")
    captioned = [row for row, record in enumerate(train.records) if record.text.strip()]
    captioned = captioned[:: max(-(-len(captioned) // baseline.MOST_CLIPS), 1)]
    features, kept = baseline.heard(dataset, train, captioned, console)
    if not len(kept):
        return None
    words = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), max_features=MOST_WORDS, sublinear_tf=True
    )
    known = words.fit_transform([train.records[row].text for row in kept]).toarray()
    asked, there = baseline.heard(dataset, split, rows, console)
    mean = known.mean(axis=0)
    heard = np.zeros((len(rows), len(mean)))
    if len(there):
        found = baseline.fit_and_score(features, known, asked, "regression")
        heard[np.isin(rows, there)] = found - mean
    said = words.transform(texts).toarray() - mean
    heard, said = (x / np.maximum(np.linalg.norm(x, axis=1), 1e-12)[:, None] for x in (heard, said))
    return heard @ said.T
