"""Corpora in their official layouts -> the rows of a manifest, one file each.

A corpus' file has `VARIANTS`, of which the first is the default, and `read(root, variant)`. Without
any in the list it takes whatever is given, and checks that itself.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from input_pipeline.tables import ManifestError

if TYPE_CHECKING:
    from input_pipeline.corpora.corpus import Corpus

# By the name that people type: what the corpus' file is called.
CORPORA = {
    "deam": "deam",
    "emomusic": "emomusic",
    "esc50": "esc50",
    "extended_ballroom": "extended_ballroom",
    "fma": "fma",
    "folder": "folder",
    "gtzan": "gtzan",
    "magnatagatune": "magnatagatune",
    "manifest": "manifest",
    "million_song": "million_song",
    "mtg_jamendo": "mtg_jamendo",
    "nsynth": "nsynth",
    "rwc": "rwc",
}


def read(name: str, root: Path) -> Corpus:
    """Reads a corpus.

    Args:
        name: Of the corpus, or `name/variant`.
        root: Its folder; of 'manifest' the table.

    Raises:
        ManifestError: if there is no such corpus or variant, or its files are not as they should
            be.
    """
    corpus, _, variant = name.partition("/")
    if corpus not in CORPORA:
        raise ManifestError(f"no corpus {corpus!r}; use one of {', '.join(CORPORA)}")
    module = import_module(f"{__name__}.{CORPORA[corpus]}")
    if module.VARIANTS:
        variant = variant or module.VARIANTS[0]
        if variant not in module.VARIANTS:
            known = ", ".join(filter(None, module.VARIANTS)) or f"'{corpus}' alone"
            raise ManifestError(f"corpus '{corpus}' has no variant {variant!r}; use {known}")
    if not root.exists():
        raise ManifestError(f"{root}: no such file or folder; give that of the corpus with --root")
    return module.read(root, variant)
