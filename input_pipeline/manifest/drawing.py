"""Splits that are drawn: by the hash of what is drawn, and stratified by label.

What is drawn are groups, which stay whole: all clips of an artist, say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b

# A label of fewer groups stays in train: of three, each of the splits gets one.
FEWEST = 3


def draw(
    groups: Mapping[str, Collection[str]], fractions: Mapping[str, float], *, stratify: bool = True
) -> dict[str, str]:
    """Draw splits for groups.

    The order is that of the groups' hashes. Stratified, labels take turns from the rarest on, as in
    Sechidis et al. (2011): each split gets its share of a label's groups, and at least one of three
    or more; where groups have several labels, no split gets more than twice its share of all groups
    for that. Groups without labels, or all of them if it is not stratified, are drawn by the hash
    alone, whatever else is in the table. A split that would stay empty gets the next group that
    train can do without.

    Args:
        groups: the labels of each group.
        fractions: the share of each split; what is left stays in train.
        stratify: whether labels matter.

    Returns:
        The split of each group that does not stay in train.
    """
    places = {group: _place(group) for group in groups}
    ordered = sorted(places, key=lambda group: (places[group], group))
    fractions = {name: fraction for name, fraction in fractions.items() if fraction}
    plain = [group for group in ordered if not (stratify and groups[group])]
    if plain == ordered:
        return _by_hash(ordered, places, fractions)
    drawn = _stratified([group for group in ordered if groups[group]], groups, fractions)
    below = 0.0
    for name, fraction in fractions.items():
        drawn |= {g: name for g in plain if below <= places[g] < below + fraction}
        below += fraction
    for name in [name for name in fractions if name not in drawn.values()]:
        stays = Counter(label for g in ordered if g not in drawn for label in groups[g])
        free = (g for g in ordered if g not in drawn and all(stays[own] > 1 for own in groups[g]))
        drawn |= {group: name for group in [next(free, None)] if group is not None}
    return drawn


def _place(group: str) -> float:
    digest = blake2b(group.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _by_hash(
    ordered: Sequence[str], places: Mapping[str, float], fractions: Mapping[str, float]
) -> dict[str, str]:
    drawn: dict[str, str] = {}
    below = 0.0
    for name, fraction in fractions.items():
        count = sum(below <= place < below + fraction for place in places.values())
        below += fraction
        start = len(drawn)
        end = min(start + max(count, 1), len(ordered) - 1)
        drawn.update(dict.fromkeys(ordered[start:end], name))
    return drawn


def _stratified(
    ordered: Sequence[str], groups: Mapping[str, Collection[str]], fractions: Mapping[str, float]
) -> dict[str, str]:
    """Draw groups that all have labels."""
    holders: dict[str, list[str]] = defaultdict(list)
    for group in ordered:
        for label in groups[group]:
            holders[label].append(group)
    alone = all(len(groups[group]) == 1 for group in ordered)
    left = Counter({label: len(held) for label, held in holders.items()})  # in train
    drawn: dict[str, str] = {}
    stays: set[str] = set()
    sizes: Counter[str] = Counter()
    for label in sorted(holders, key=lambda label: (len(holders[label]), label)):
        held = holders[label]
        there = Counter(drawn[group] for group in held if group in drawn)
        for name, fraction in fractions.items():
            goal = round(fraction * len(held))
            full = not alone and sizes[name] >= 2 * fraction * len(ordered)
            if not goal and len(held) >= FEWEST and not full:
                goal = 1
            for group in held:
                if there[name] >= goal:
                    break
                # Train needs one of each label.
                if group in drawn or group in stays or any(left[own] < 2 for own in groups[group]):
                    continue
                drawn[group] = name
                there[name] += 1
                sizes[name] += 1
                left.subtract(groups[group])
        # For good, or a later label would take what this one has in train.
        stays |= {group for group in held if group not in drawn}
    return drawn


def labels_of(groups: Iterable[str], labels: Iterable[Iterable[str]]) -> dict[str, set[str]]:
    """The labels of each group, of those of each of its records."""
    found: dict[str, set[str]] = {}
    for group, own in zip(groups, labels, strict=True):
        found.setdefault(group, set()).update(own)
    return found
