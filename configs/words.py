"""The words behind a config's name: `--config tagger:musicnn,mtat,recipe=modern`.

Commas separate them, in any order. Each chooses one thing, such as a size, that has a default;
`size=tiny` says which thing it is, and `tiny` is enough. Where a config takes names of one's own,
such as tasks, `name=value` gives one, and `name=value+value` has several values.
"""

from collections.abc import Collection

from atbert_jax import choices

# The words that there are for one thing, and the one that it is by default.
Choice = tuple[Collection[str], str]


def read(given: str, /, **things: Choice) -> tuple[str, ...]:
    """The word for each thing, in the order of the things.

    Args:
        given: What stands behind the colon.
        things: By name, what there is to choose.

    Raises:
        ValueError: if a word is unknown, or chooses what another one does, or more than one thing.
    """
    chosen, own = read_with_own(given, **things)
    for name in own:
        choices.require("config word", f"{name}=", [f"{thing}=" for thing in things])
    return chosen


def read_with_own(
    given: str, /, **things: Choice
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """As `read`, and the values of each name of one's own."""
    chosen: dict[str, str] = {}
    own: dict[str, tuple[str, ...]] = {}
    for part in given.split(",") if given else ():
        name, equals, word = part.partition("=")
        if equals and name not in things:
            own[name] = tuple(word.split("+"))
            continue
        thing, word = (name, word) if equals else (_thing(part, things), part)
        if thing in chosen:
            raise ValueError(
                f"config words {given!r}: {thing} cannot be {chosen[thing]} and {word}"
            )
        chosen[thing] = choices.require(f"config word {thing}", word, things[thing][0])
    return tuple(chosen.get(thing, default) for thing, (_, default) in things.items()), own


def _thing(word: str, things: dict[str, Choice]) -> str:
    """What a word chooses that stands alone."""
    choices.require("config word", word, [each for known, _ in things.values() for each in known])
    thing, *others = [name for name, (known, _) in things.items() if word in known]
    if others:
        raise ValueError(f"config word {word!r} is {thing} or {others[0]}; write {thing}={word}")
    return thing
