"""The benchmark of reading: every stage has a rate, whatever the batches carry."""

import json

import pytest

from atbert_jax.input_pipeline.batching.stages import measure_stages, table
from tests import commands

STAGES = [
    "reading the manifest",
    "opening and decoding",
    "+ resampling",
    "cutting, headers read first",
    "cutting",
    "batches of waveforms",
    "+ augmentation of waveforms",
    "whole pipeline, without memory",
    "whole pipeline, first epoch",
    "whole pipeline, later epochs",
]


@pytest.mark.parametrize(("carried", "stages"), [("log_mel", STAGES), ("waveform", None)])
def test_stages_count_what_they_read(tone_manifest, tone_config, carried, stages):
    changes = {"data.input": carried, "train.batch_size": 4, "augmentation.gain_db": 3.0}
    manifest = tone_manifest(10, 2, 1, seconds=0.5)
    (manifest.parent / "train3.wav").write_text("no audio")
    config = tone_config(manifest, **changes)
    found = list(measure_stages(config, 8))
    left_out = [name for name in STAGES if name not in ("+ augmentation of waveforms", STAGES[5])]
    assert [stage.name for stage in found] == (stages or left_out)
    # 8 of 10 records are two batches, of which one starts the pipeline; one clip is no audio.
    assert [stage.clips for stage in found[:5]] == [13, 7, 7, 7, 7]
    assert found[-1].clips == 8
    for stage in found[1:]:
        assert stage.seconds > 0
        assert 0.5 * (stage.clips - 2) <= stage.heard <= 0.5 * stage.clips + 1e-6
        assert stage.row["clips_per_second"] == stage.clips / stage.seconds
    shown = table([stage.row for stage in found])
    assert shown.row_count == len(found)


def test_the_command_prints_json_or_one_line(tone_manifest, tmp_path):
    manifest = tone_manifest(4, 1, 1)
    given = [
        "atbert_jax.input_pipeline.batching.benchmark",
        "--config=configs/atbert_pretrain.py:tiny",
        "--json",
    ]
    small = ["--config.spectrogram.sample_rate=8000", "--config.train.batch_size=4", "--clips=4"]
    result = commands.run(*given, *small, f"--config.data.manifest={manifest}")
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [row["stage"] for row in rows] == STAGES
    assert all(row["clips_per_second"] > 0 for row in rows)
    result = commands.run(*given, f"--config.data.manifest={tmp_path / 'none.csv'}")
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'none.csv'}")
    assert result.returncode == 1
