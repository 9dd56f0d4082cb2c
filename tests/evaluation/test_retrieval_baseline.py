"""The baseline of the search: captions in any writing, and what cannot be learned from."""

import io

import numpy as np
from rich.console import Console

from atbert_jax.evaluation import retrieval_baseline
from atbert_jax.input_pipeline import dataset
from tests import tiny


def test_captions_in_any_writing_or_none(tone_manifest, tone_config):
    manifest = tone_manifest(8, 2, 6)
    text = manifest.read_text(encoding="utf-8")
    text = text.replace("a low tone", "低い音").replace("a high tone", "高い音")
    manifest.write_text(text, encoding="utf-8")
    config = tone_config(manifest, **tiny.MODEL)
    data = dataset.load(config, manifest.parent)
    (manifest.parent / "test2.wav").write_bytes(b"no sound")
    console = Console(file=io.StringIO())
    test = data.split("test")
    found = retrieval_baseline.similarity(data, test, range(6), ["低い音", "高い音"], console)
    assert found.shape == (6, 2)
    assert found.argmax(axis=1)[[0, 1, 3, 4, 5]].tolist() == [0, 1, 1, 0, 1]
    np.testing.assert_array_equal(found[2], 0)
    for split in data.splits.values():
        split.records[:] = [record.__class__(record.id, record.path) for record in split.records]
    assert retrieval_baseline.similarity(data, test, range(6), ["x"], console) is None
