"""Benchmarks measure what they are asked for."""

import json
import os
import subprocess
import sys

import numpy as np

from benchmarks import contracts
from tests import tiny
from tests.commands import ENVIRONMENT, ROOT


def test_data_that_is_made_up_has_the_sizes_that_are_asked_for():
    config = tiny.make_config(**{"train.batch_size": 3, "segmenting.segments": 2})
    contracts.set_frames(config, 48)
    batch = contracts.made_up_batch(config, contracts.made_up(config))
    assert batch["log_mel"].shape == (3, 2, config.spectrogram.n_mels, 48)
    assert batch["token_ids"].shape == (3, config.text.max_tokens)
    assert batch["segment_mask"].all()
    assert batch["token_mask"].all()
    assert len(np.unique(batch["record"])) == 3


def test_a_step_is_timed_and_counted():
    sizes = ["--batch=2", "--segments=1", "--mels=8", "--frames=8", "--text=4", "--steps=2"]
    small = tiny.MODEL | {"model.depths": ()}  # compiles sooner
    model = [f"--config.{name}={value}" for name, value in small.items()]
    command = [sys.executable, "benchmarks/train_step.py", "--config=configs/atbert_pretrain.py"]
    done = subprocess.run(
        [*command, *model, *sizes],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["clips_per_s"] == 2 / found["step_s"]
    assert found["params"] > 30_000 * tiny.MODEL["model.embedding"]
    assert 0 < found["mfu"] < 1
    assert found["compile_s"] > 0


def test_products_are_timed_for_each_pass():
    flags = ["--rows=2", "--rows=3", "--hidden=8", "--layers=2"]
    done = subprocess.run(
        [sys.executable, "benchmarks/products.py", *flags],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["2", "3"]
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in row)
