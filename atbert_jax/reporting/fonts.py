"""Class names in any script on a figure: picks, among the installed fonts, some that can draw them.

Matplotlib falls back letter by letter through a list of families; this finds that list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

BASE_FAMILY = "DejaVu Sans"
LONGEST_LABEL = 28
# Matplotlib's own font of placeholder boxes claims every letter; colour bitmaps cannot be drawn.
UNUSABLE = ("Last Resort", "Color Emoji", "LastResort")


def families_for(texts: Sequence[str]) -> tuple[list[str], set[str]]:
    """Finds font families that together can draw some texts.

    Args:
        texts: any Unicode.

    Returns:
        The families, matplotlib's own first, and the letters that no installed font has.
    """
    from matplotlib import font_manager  # comes with an extra, as in `canvas`

    families = [BASE_FAMILY]
    missing = {letter for text in texts for letter in text if not letter.isspace()}
    missing -= _letters(font_manager.findfont(BASE_FAMILY))
    if not missing:
        return families, missing
    installed = _installed()
    while missing:
        # Of equally good ones a sans serif, and then the first by name, so that runs agree.
        family = min(
            installed, key=lambda f: (-len(missing & _letters(installed[f])), "Sans" not in f, f)
        )
        found = missing & _letters(installed[family])
        if not found:
            break
        families.append(family)
        missing -= found
    return families, missing


@contextmanager
def lettering(names: Sequence[str], longest: int = LONGEST_LABEL) -> Iterator[list[str]]:
    """Sets matplotlib up to draw names, for as long as the context lasts.

    Dollar signs are drawn as they are, not read as formulas.

    Args:
        names: any Unicode.
        longest: label, in letters.

    Yields:
        One label per name: the name, cut when longer, or `#` and its position (from 0) when no
        installed font has all of its letters.
    """
    import matplotlib as mpl

    families, missing = families_for(names)
    labels = [
        numbered(position) if missing & set(name) else shortened(name, longest)
        for position, name in enumerate(names)
    ]
    with mpl.rc_context({"font.family": families, "text.parse_math": False}):
        yield labels


def numbered(position: int) -> str:
    """Stands for a name that cannot be drawn."""
    return f"#{position}"


def legend(names: Sequence[str]) -> str:
    """Says which names `lettering` draws as numbers; empty where it draws them all."""
    _, missing = families_for(names)
    pairs = [f"{numbered(n)} {name}" for n, name in enumerate(names) if missing & set(name)]
    if not pairs:
        return ""
    return f"No installed font has the letters of some names: {', '.join(pairs)}."


def shortened(name: str, longest: int = LONGEST_LABEL) -> str:
    """Returns the name on one line, its end cut off where it is too long for an axis."""
    line = " ".join(name.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


@lru_cache(maxsize=512)
def _letters(path: str) -> frozenset[str]:
    from matplotlib import font_manager

    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def _installed() -> dict[str, str]:
    """Path of an upright, regular font of each family, by the family's name."""
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    # Matplotlib lists the fonts once and keeps the list, so it misses those installed since.
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):
                continue
    return {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular")
        and not entry.name.startswith(".")
        and not any(name in entry.name for name in UNUSABLE)
    }
