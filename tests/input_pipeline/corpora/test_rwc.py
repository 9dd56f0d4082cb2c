"""RWC's instruments: all that is known is in the names of the files."""

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError


def test_names_of_files(lay_out):
    audio = ["RWC_I_01/011/011PFNOF.WAV", "RWC_I_01/013/013PFNOP.flac", "x/152VNPIM.aif"]
    corpus = corpora.read("rwc", lay_out({"RWC_I_01/readme.txt": "", "011PFNOFX.wav": ""}, audio))
    assert corpus.rows.to_dict("list") == {
        "id": ["011PFNOF", "013PFNOP", "152VNPIM"],
        "path": audio,
        "label": ["PF", "PF", "VN"],
        "split": ["train", "test", "train"],
        "maker": ["011", "013", "152"],
        "style": ["NO", "NO", "PI"],
        "dynamics": ["F", "P", "M"],
    }
    assert corpus.labels == ("PF", "VN")
    assert corpus.deviations == ["the corpus has 3 records, a complete copy has 3544"]


def test_another_folder(lay_out):
    with pytest.raises(ManifestError, match=r"no file as RWC_I_01/011/011PFNOF\.wav in it; copy"):
        corpora.read("rwc", lay_out(audio=["song.mp3"]))
