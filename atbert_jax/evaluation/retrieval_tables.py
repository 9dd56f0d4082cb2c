"""What a report shows of a search: how early right answers come, and what some texts find."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.metrics import ranking
from atbert_jax.reporting.tables import Sound, Table

# What the table of examples shows.
QUERIES, HITS = 5, 3


def results(values: dict[str, Any]) -> Table:
    """How early the right answers come, of what `retrieval.measure` says."""
    titles = {
        "candidates": "cosine of summaries",
        "reranked": f"first {values['rerank']} by the pair head",
        "mfcc": "MFCC statistics, ridge to the captions' words",
        "chance": "chance",
    }
    rows = [
        [direction.replace("_", " "), title, *(found[stage][name] for name in ranking.NAMES)]
        for direction, found in values.items()
        if isinstance(found, dict) and "chance" in found
        for stage, title in titles.items()
        if stage in found
    ]
    columns = ["search", "order", "recall@1", "recall@5", "recall@10", "median rank", "mAP"]
    note = (
        f"{values['clips']} clips and {values['texts']} different texts; all clips that have a text"
        " are right answers to it."
    )
    return Table("Retrieval", columns, rows, note)


def examples(
    queries: Sequence[str],
    records: Sequence[Record],
    order: np.ndarray,
    relevant: np.ndarray,
    listen: Callable[[Record], Sound],
) -> Table:
    """What some of the queries find, evenly taken, to be listened to.

    Args:
        queries: Q texts.
        records: C clips.
        order: (Q, C), of the clips for each text.
        relevant: (Q, C), bool: the right answers.
        listen: Gives what is played of a record.
    """
    rows = []
    for query in np.unique(np.linspace(0, len(queries) - 1, QUERIES).astype(int)):
        right = relevant[query, order[query]]
        hits = zip(order[query, :HITS], right, strict=False)
        cells = []
        for place, hit in hits:
            sound = listen(records[place])
            cells.append(dataclasses.replace(sound, name="✓ " * bool(hit) + sound.name))
        cells += [""] * (HITS - len(cells))
        rows.append([queries[query], *cells, int(right.argmax()) + 1])
    columns = ["text", *(f"hit {number + 1}" for number in range(HITS)), "first right"]
    return Table("What some texts find", columns, rows, "✓ has this very text.")
