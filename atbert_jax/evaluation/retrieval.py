"""Retrieval: from a text to the clips that it describes, and from a clip to its text.

In two stages, as ALBEF does (Li et al. 2021, section 5), the second of them where it helps on the
validation split (see `retrieval_search`). Texts that read the same are one text, and all clips that
have it are right answers to it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from atbert_jax.evaluation import baseline, retrieval_baseline, retrieval_tables
from atbert_jax.evaluation.matching import COSINE, PAIR
from atbert_jax.evaluation.retrieval_search import (
    AUDIO_TO_TEXT,
    CANDIDATES,
    RERANKED,
    TEXT_TO_AUDIO,
    encode_clips,
    encode_texts,
    rank,
    search,
)
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.metrics import ranking
from atbert_jax.reporting.report import Section
from atbert_jax.reporting.tables import Sound
from atbert_jax.training.trained import Trained

MFCC, CHANCE = "mfcc", "chance"
UNTRAINED = (
    "Candidates of the search are in no trained order, since `alignment` was no objective; with"
    " --rerank as large as the split the pair head orders all of them."
)


def is_learned(model: Trained) -> bool:
    """Whether the model has an objective that compares clips with texts."""
    return bool({PAIR, COSINE} & set(model.learner.objectives))


def measure(
    model: Trained,
    dataset: Dataset,
    split: str,
    console: Console,
    listen: Callable[[Record], Sound],
    *,
    rerank_anyway: bool = False,
    with_baseline: bool = True,
) -> Section:
    """Measures both directions on the records of a split that have a clip and a text.

    Args:
        model: From `trained.load`; `config.evaluation.rerank` is K.
        dataset: With the split.
        split: 'train', 'val' or 'test'.
        console: Where to talk.
        listen: Gives what a page plays of a record.
        rerank_anyway: Also where that does not help on the validation split.
        with_baseline: Measure MFCC statistics and ridge regression (see `retrieval_baseline`), too.

    Returns:
        `clips` and `texts` (how many were searched), `rerank` (K, 0 without re-ranking), and for
        `text_to_audio` and `audio_to_text` what `ranking.measure` says of `candidates`, of
        `reranked` (with K above 0), of `mfcc` and of `chance`; `map_on_val`, what re-ranking was
        decided by; tables; warnings.

    Raises:
        ValueError: if K is negative.
    """
    depth = model.config.evaluation.rerank
    if depth < 0:
        raise ValueError(f"config.evaluation.rerank={depth} is negative; 0 is no re-ranking")
    depth *= PAIR in model.learner.objectives
    records = dataset.split(split)
    clips = encode_clips(model, dataset, records, keep_states=depth > 0)
    if clips is None:
        nothing = "Nothing was searched: no record has both a text and a readable clip."
        return Section({}, warnings=[nothing])
    values: dict[str, Any] = {}
    warnings = [] if COSINE in model.learner.objectives else [UNTRAINED]
    # Candidates in no trained order can only become better.
    if depth and not warnings and not rerank_anyway:
        helps, on_val, warnings = _helps(model, dataset, depth)
        depth, values["map_on_val"] = depth * helps, on_val
    texts, first, own = encode_texts(model, records, clips.rows)
    orders = search(model, clips, texts, depth)
    searched = [records.records[row] for row in clips.rows]
    queries = [searched[place].text for place in first]
    if with_baseline and baseline.is_possible(dataset, split):
        cosine = retrieval_baseline.similarity(dataset, records, clips.rows, queries, console)
        if cosine is not None:
            orders[TEXT_TO_AUDIO][MFCC], orders[AUDIO_TO_TEXT][MFCC] = rank(cosine.T), rank(cosine)
    relevant = _relevant(own, len(first))
    values |= {"clips": len(own), "texts": len(first), "rerank": depth}
    for direction, stages in orders.items():
        right = relevant[direction]
        found = {name: ranking.ranking_metrics(order, right) for name, order in stages.items()}
        values[direction] = found | {CHANCE: ranking.chance(right)}
    best = orders[TEXT_TO_AUDIO].get(RERANKED, orders[TEXT_TO_AUDIO][CANDIDATES])
    tables = [
        retrieval_tables.results(values),
        retrieval_tables.examples(queries, searched, best, relevant[TEXT_TO_AUDIO], listen),
    ]
    return Section(values, tables, warnings=warnings)


def _relevant(own: np.ndarray, texts: int) -> dict[str, np.ndarray]:
    """The right answers of each query, by direction, of N clips with the numbers (N,) of texts."""
    has = own[:, None] == np.arange(texts)
    return {TEXT_TO_AUDIO: has.T, AUDIO_TO_TEXT: has}


def _helps(
    model: Trained, dataset: Dataset, depth: int
) -> tuple[bool, dict[str, float] | None, list[str]]:
    """Whether re-ranking makes the mAP of both directions better on the validation split.

    Returns:
        That, the mean mAP of both stages (None where nothing can be searched), and warnings.
    """
    records = dataset.splits["val"]
    clips = encode_clips(model, dataset, records, keep_states=True)
    if clips is None:
        return True, None, ["No record of val has a clip and a text to check the re-ranking with."]
    texts, first, own = encode_texts(model, records, clips.rows)
    orders, relevant = search(model, clips, texts, depth), _relevant(own, len(first))
    means = {
        stage: float(
            np.mean(
                [
                    ranking.ranking_metrics(orders[each][stage], relevant[each])["map"]
                    for each in orders
                ]
            )
        )
        for stage in (CANDIDATES, RERANKED)
    }
    helps = means[RERANKED] > means[CANDIDATES]
    harm = (
        f"The pair head does not re-rank: on val mAP would be {means[RERANKED]:.3f}, and is"
        f" {means[CANDIDATES]:.3f} without; --rerank={depth} does it anyway."
    )
    return helps, means, [] if helps else [harm]
