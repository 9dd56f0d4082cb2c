"""Names that people give, in configs and on command lines, against those that there are."""

import difflib
from collections.abc import Iterable


def require(
    field: str, given: str, known: Iterable[str], error: type[ValueError] = ValueError
) -> str:
    """Gives back a name that is known.

    Args:
        field: Where it was given, as `config.model.name` or `--dataset`.
        given: The name.
        known: Those that there are.
        error: What is raised.

    Raises:
        ValueError: or `error`, with the field, the name, all that are known, and the one of them
            that was probably meant.
    """
    names = list(known)
    if given in names:
        return given
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(name or "''" for name in names)
    raise error(f"{field}={given!r} is none of {listed}{hint}")


def require_some(field: str, given: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Gives back names that are known, one at least.

    Raises:
        ValueError: if there is none, or as `require` does.
    """
    chosen, names = tuple(given), tuple(known)
    if not chosen:
        raise ValueError(f"{field} is empty; name some of {', '.join(names)}")
    return tuple(require(field, each, names) for each in chosen)
