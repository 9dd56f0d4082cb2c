"""Extended Ballroom (Marchand and Peeters 2016): 4180 tracks of 13 dances, with their tempo.

It has no official split. A track and the repetitions of it that the corpus names are of one group,
which is not torn where splits are drawn.
"""

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
TABLE = "extendedballroom_v1.1.xml"
SOURCE = "http://anasynth.ircam.fr/home/media/ExtendedBallroom"
# Attributes that name the track of which this is a repetition.
REPETITIONS = ("exact", "time", "karaoke", "version")


def read(root: Path, variant: str) -> Corpus:
    """Reads `extendedballroom_v1.1.xml`; tracks are `Chacha/100701.mp3`."""
    require(root, {TABLE: SOURCE})
    try:
        dances = ElementTree.parse(root / TABLE).getroot()
        songs = [(dance.tag, song.attrib) for dance in dances for song in dance]
        origins = {song["id"]: _origin(song) for _, song in songs}
    except (ElementTree.ParseError, KeyError) as error:
        reason = f"not as published ({error!r}); get it from {SOURCE}"
        raise ManifestError(f"{root / TABLE}: {reason}") from error
    rows = pd.DataFrame(
        {
            "id": [song["id"] for _, song in songs],
            "path": [f"{dance}/{song['id']}.mp3" for dance, song in songs],
            "label": [dance for dance, _ in songs],
            "group": [_first(song["id"], origins) for _, song in songs],
            "artist": [song.get("artist", "") for _, song in songs],
            "title": [song.get("title", "") for _, song in songs],
            "bpm": [song.get("bpm", "") for _, song in songs],
        }
    )
    return Corpus.of_files(
        root,
        rows,
        labels=tuple(sorted(set(rows["label"]))),
        task="single_label",
        published={"": 4_180},
    )


def _origin(song: dict[str, str]) -> str:
    return next((song[name] for name in REPETITIONS if song.get(name)), song["id"])


def _first(song: str, origins: dict[str, str]) -> str:
    """The track that all repetitions of one lead to; of those that name each other, one."""
    seen = [song]
    while (origin := origins.get(seen[-1], seen[-1])) not in seen:
        seen.append(origin)
    return min(seen[seen.index(origin) :])
