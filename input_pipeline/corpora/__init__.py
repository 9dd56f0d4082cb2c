"""Corpora in their official layouts -> the rows of a manifest, one file each.

A corpus' file has `VARIANTS`, of which the first is the default, and `read(root, variant)`. Without
any in the list it takes whatever is given, and checks that itself. Where the sound is no files yet,
it has `unpack(root, variant, output)` instead, which makes them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from atbert_jax import choices
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

if TYPE_CHECKING:
    from atbert_jax.input_pipeline.corpora.corpus import Corpus

# By the name that people type: what the corpus' file is called.
CORPORA = {
    "common_voice": "common_voice",
    "deam": "deam",
    "emomusic": "emomusic",
    "esc50": "esc50",
    "extended_ballroom": "extended_ballroom",
    "fma": "fma",
    "folder": "folder",
    "gtzan": "gtzan",
    "huggingface": "huggingface",
    "lp_musiccaps": "lp_musiccaps",
    "m3bert": "m3bert_sets",
    "magnatagatune": "magnatagatune",
    "manifest": "own_manifest",
    "million_song": "million_song",
    "mtg_jamendo": "mtg_jamendo",
    "mulap": "mulap_corpus",
    "music4all": "music4all",
    "musiccaps": "musiccaps",
    "nsynth": "nsynth",
    "ravdess": "ravdess",
    "rwc": "rwc",
    "song_describer": "song_describer",
    "tfds": "tfds",
}
# People's own, whose paths and links may lead anywhere.
OWN = ("folder", "huggingface", "manifest")


def read(
    name: str, root: Path, output: Path | None = None, *, allow_outside: bool = False
) -> Corpus:
    """Reads a corpus.

    Args:
        name: Of the corpus, or `name/variant`, or `tfds:name`.
        root: Its folder; of 'manifest' the table.
        output: Where files are made of sound that is none; used by these alone.
        allow_outside: Accept files that paths or links lead to out of the corpus' folder.

    Raises:
        ManifestError: if there is no such corpus or variant, or its files are not as they should
            be.
    """
    corpus, _, variant = name.replace("tfds:", "tfds/", 1).partition("/")
    choices.require("corpus", corpus, CORPORA, ManifestError)
    module = import_module(f"{__name__}.{CORPORA[corpus]}")
    if module.VARIANTS:
        variant = variant or module.VARIANTS[0]
        choices.require(f"corpus '{corpus}': variant", variant, module.VARIANTS, ManifestError)
    if not root.exists():
        raise ManifestError(f"{root}: no such file or folder; give that of the corpus with --root")
    more = {"allow_outside": allow_outside} if corpus in OWN else {}
    if hasattr(module, "unpack"):
        if output is None:
            raise ManifestError(f"corpus '{corpus}' makes audio files; say where to with --output")
        return module.unpack(root, variant, output, **more)
    found = module.read(root, variant, **more)
    return found if allow_outside or corpus in OWN else found.inside(root)
