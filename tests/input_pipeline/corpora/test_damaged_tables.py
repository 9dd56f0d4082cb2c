"""Damaged tables of every corpus end with an error that says where it is, or are survived."""

import pickle
import random

import pytest

from atbert_jax import prepare
from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora import corpus
from tests.input_pipeline.corpora import (
    test_captions,
    test_common_voice,
    test_emotion,
    test_esc50,
    test_extended_ballroom,
    test_fma,
    test_gtzan,
    test_layouts_of_papers,
    test_magnatagatune,
    test_million_song,
    test_mtg_jamendo,
    test_musiccaps,
    test_nsynth,
)
from tests.input_pipeline.corpora.conftest import Anything

CLIPS = test_magnatagatune.annotations(test_magnatagatune.CLIPS)
TRACKS, TRACK = test_million_song.TRAIN, test_million_song.TEST
# The tables of each corpus, by path.
TABLES = {
    "common_voice/accent": {
        name: test_common_voice.TABLES[name]
        for name in ("train.tsv", "dev.tsv", "test.tsv", "clip_durations.tsv")
    },
    "deam": {f"annotations/{name}": table for name, table in test_emotion.DEAM.items()},
    "emomusic": test_emotion.EMOMUSIC,
    "esc50": {"meta/esc50.csv": test_esc50.TABLE},
    "extended_ballroom": {"extendedballroom_v1.1.xml": test_extended_ballroom.TABLE},
    "fma": {"fma_metadata/tracks.csv": test_fma.TABLE},
    "gtzan": test_gtzan.LISTS,
    "lp_musiccaps": test_captions.LP_MUSICCAPS,
    "m3bert": test_layouts_of_papers.M3BERT,
    "magnatagatune/21k": {
        f"MTAT_split/{split}_list_pub.cP": pickle.dumps([path], 0)
        for split, path in (("train", "f/f.mp3"), ("valid", "c/c.mp3"), ("test", "d/d.mp3"))
    },
    "magnatagatune/25k": {"annotations_final.csv": CLIPS},
    "million_song": {
        "MSD_split/filtered_list_train.cP": pickle.dumps(TRACKS, 0),
        "MSD_split/filtered_list_test.cP": pickle.dumps(TRACK, 0),
        "MSD_split/msd_id_to_tag_vector.cP": test_million_song.of_python_2(
            {track: ["rock"] for track in TRACKS + TRACK}
        ),
    },
    "mtg_jamendo": test_mtg_jamendo.tables("top50tags", 0),
    "mulap": test_layouts_of_papers.MULAP,
    "music4all": {f"{name}.csv": table for name, table in test_captions.MUSIC4ALL.items()},
    "musiccaps/videos": {"musiccaps-public.csv": test_musiccaps.TABLE},
    "nsynth": test_nsynth.layout(test_nsynth.NOTE)[0],
    "song_describer": {"song_describer.csv": test_captions.DESCRIBER},
}
# What else must be there.
OTHERS = {
    "common_voice/accent": ["clips/1.mp3"],
    "deam": ["MEMD_audio/1.mp3"],
    "emomusic": ["clips_45seconds/1.mp3"],
    "esc50": ["audio/1.wav"],
    "fma": ["fma_small/1.mp3"],
    "mulap": ["audio/1.npy"],
    "music4all": ["audios/1.mp3"],
    "song_describer": ["audio/1.mp3"],
}
MUTANTS = 12  # of a corpus


def mutants(table: bytes, count: int, rng: random.Random) -> list[bytes]:
    """Cut off, with a hole, or with a byte of something else."""
    found = []
    for number in range(count):
        place = rng.randrange(len(table))
        rest = (b"", table[place + rng.randint(1, 40) :], rng.randbytes(1) + table[place + 1 :])
        found.append(table[:place] + rest[number % 3])
    return found


# Pickles in text have escapes, of which Python warns where they are damaged.
@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")
@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(name, lay_out, monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "_names", lambda folder: Anything())
    root = lay_out({"annotations_final.csv": CLIPS}, OTHERS.get(name, ()))
    tables = {
        path: table if isinstance(table, bytes) else table.encode()
        for path, table in TABLES[name].items()
    }
    for path, table in tables.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(table)
    whole = len(corpora.read(name, root).rows)
    rng, refused = random.Random(name), 0
    for path, table in tables.items():
        for mutant in mutants(table, MUTANTS // len(tables), rng):
            (root / path).write_bytes(mutant)
            try:
                found = corpora.read(name, root)
                prepare.write(found, root, tmp_path / "out")
                assert len(found.rows) <= whole + 1
            except ValueError as error:
                assert str(root) in str(error), mutant  # noqa: PT017
                refused += 1
        (root / path).write_bytes(table)
    assert refused > 0
