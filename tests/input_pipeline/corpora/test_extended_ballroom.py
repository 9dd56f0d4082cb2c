"""Extended Ballroom: repetitions of a track stay together."""

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

TABLE = """<?xml version="1.0" ?>
<ExtendedBallroom>
  <Waltz>
    <song id="100" artist="A &amp; B" title="One" bpm="88" hash="x"/>
    <song id="101" artist="C" title="One" bpm="88" version="100"/>
    <song id="102" title="Two" exact="101"/>
  </Waltz>
  <Chacha>
    <song id="200" title="Three" time="201"/>
    <song id="201" title="Three" time="200"/>
    <song id="202" title="Four" version="999"/>
  </Chacha>
</ExtendedBallroom>
"""


def test_tracks_and_their_repetitions(lay_out):
    audio = [f"{d}/{d2}0{n}.mp3" for d, d2 in (("Waltz", 1), ("Chacha", 2)) for n in range(3)]
    corpus = corpora.read("extended_ballroom", lay_out({"extendedballroom_v1.1.xml": TABLE}, audio))
    assert corpus.rows["path"].tolist() == audio
    assert corpus.rows["group"].tolist() == ["100", "100", "100", "200", "200", "999"]
    assert corpus.rows["artist"].tolist() == ["A & B", "C", "", "", "", ""]
    assert corpus.labels == ("Chacha", "Waltz")
    assert corpus.deviations == ["the corpus has 6 records, a complete copy has 4180"]


@pytest.mark.parametrize("table", ["<ExtendedBallroom><Waltz>", "<a><Waltz><song/></Waltz></a>"])
def test_another_table(lay_out, table):
    root = lay_out({"extendedballroom_v1.1.xml": table})
    with pytest.raises(ManifestError, match=r"extendedballroom_v1\.1\.xml: not as published"):
        corpora.read("extended_ballroom", root)
