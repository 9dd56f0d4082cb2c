"""A small part of the training split with so many records of each label."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from atbert_jax.input_pipeline.manifest.records import Record


def subset(parts: Sequence[Sequence[Record]], count: int, seed: int) -> list[list[Record]]:
    """Draws `count` records of each label, or all where a label has fewer; drops unlabelled ones.

    The draw hashes the seed and the record's id, so it depends on nothing else in the table, and
    with one label for each record a larger draw holds every smaller one. A record with several
    labels counts for all of them: labels are gone through from the rarest on, and each takes what
    it still lacks, so a label that often stands beside rarer ones can get more than `count`.
    Records with soft labels, which nobody labelled, all stay and count for nothing.

    Args:
        parts: Records of each manifest.
        count: Of records of each label, over all manifests.
        seed: Of the draw.

    Returns:
        The drawn records of each manifest, in its order.
    """
    places = [(part, row) for part, records in enumerate(parts) for row in range(len(records))]
    places.sort(key=lambda place: (_hash(parts[place[0]][place[1]].id, seed), place))
    holders = defaultdict(list)
    for part, row in places:
        record = parts[part][row]
        for label in record.labels if not record.shares else ():
            holders[label].append((part, row))
    drawn: set[tuple[int, int]] = set()
    counts: Counter[str] = Counter()
    for label in sorted(holders, key=lambda label: (len(holders[label]), label)):
        for part, row in holders[label]:
            if counts[label] >= count:
                break
            if (part, row) not in drawn:
                drawn.add((part, row))
                counts.update(parts[part][row].labels)
    return [
        [record for row, record in enumerate(records) if (part, row) in drawn or record.shares]
        for part, records in enumerate(parts)
    ]


def _hash(name: str, seed: int) -> bytes:
    return blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
