"""The few numbers that a report begins with: those that its model was made for."""

from collections.abc import Mapping, Sequence
from typing import Any

from atbert_jax.evaluation import retrieval
from atbert_jax.evaluation.compared_systems import Compared

# By objective the metric that tells most, and what it is called; others show their first one.
TOLD = {"correct_pair": ("roc_auc", "pairs told apart, ROC AUC")}
# A mean cosine says little where a search says more.
SILENT = {"alignment"}
RECALL = "recall_at_10"
LEFT_OUT = "clips not readable"


def numbers(
    compared: Sequence[Compared],
    measured: Mapping[str, Any],
    search: Mapping[str, Any],
    unreadable: int,
) -> dict[str, Any]:
    """Numbers by what they are called.

    Args:
        compared: Systems of each task of labels.
        measured: What the model's objectives say.
        search: Of `retrieval.measure`, if there was one.
        unreadable: How many records were; shown where there are any.
    """
    shown: dict[str, Any] = {}
    for each in compared:
        shown |= each.headline
    for objective, entry in measured.items():
        if isinstance(entry, Mapping) and not compared and objective not in SILENT:
            first = next((name for name in entry if name != "loss"), "loss")
            metric, called = TOLD.get(objective, (first, f"{objective} {first}"))
            shown[called] = entry[metric]
    for direction in (retrieval.TEXT_TO_AUDIO, retrieval.AUDIO_TO_TEXT):
        if direction in search:
            stages = search[direction]
            best = stages.get(retrieval.RERANKED, stages[retrieval.CANDIDATES])
            shown[f"{direction} recall@10"] = best[RECALL]
            shown[f"by chance, {direction}"] = stages[retrieval.CHANCE][RECALL]
    if unreadable:
        shown[LEFT_OUT] = unreadable
    return shown or {"loss": measured["loss"]}
