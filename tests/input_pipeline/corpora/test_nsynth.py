"""NSynth: notes of three official splits."""

import json

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

# One entry as it is published.
NOTE = {
    "note": 201034,
    "sample_rate": 16000,
    "instrument_family": 0,
    "qualities": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    "instrument_source_str": "synthetic",
    "note_str": "bass_synthetic_033-022-050",
    "instrument_family_str": "bass",
    "instrument_str": "bass_synthetic_033",
    "pitch": 22,
    "velocity": 50,
    "instrument": 417,
    "instrument_source": 2,
    "qualities_str": ["dark"],
}


def layout(note: dict) -> tuple[dict[str, str], list[str]]:
    """The tables and the audio, with one note in each split."""
    tables, audio = {}, []
    for split in ("train", "valid", "test"):
        name = f"{split}_{note['note_str']}"
        tables[f"nsynth-{split}/examples.json"] = json.dumps({name: note})
        audio.append(f"nsynth-{split}/audio/{name}.wav")
    return tables, audio


def test_notes_of_three_splits(lay_out):
    tables, audio = layout(NOTE)
    corpus = corpora.read("nsynth", lay_out(tables, audio))
    assert corpus.rows["path"].tolist() == audio
    assert corpus.rows["split"].tolist() == ["train", "val", "test"]
    first = corpus.rows.drop(columns=["id", "path", "split"]).iloc[0].to_dict()
    assert first == {
        "label": "bass",
        "group": "bass_synthetic_033",
        "source": "synthetic",
        "pitch": 22,
        "velocity": 50,
        "qualities": "dark",
    }
    assert len(corpus.labels) == 11
    assert corpus.published == {"train": 289_205, "val": 12_678, "test": 4_096}


@pytest.mark.parametrize("change", [{"instrument_family": 11}, {"qualities_str": None}])
def test_another_table(lay_out, change):
    root = lay_out(*layout(NOTE | change))
    with pytest.raises(ManifestError, match=r"nsynth-train/examples\.json: not as published"):
        corpora.read("nsynth", root)


def test_the_note_here_is_as_published(real):
    entry = json.loads((real("nsynth") / "examples_one_entry.json").read_text())
    assert entry == {NOTE["note_str"]: NOTE}
