"""Real training steps, forward and backward, compile for accelerators and are as they should be."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.commands import ROOT

WHEELS = ("libtpu", "jax_cuda13_plugin")
MISSING = [name for name in WHEELS if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.aot,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; make aot"),
]
ATBERT = (
    "--config=configs/atbert_pretrain.py:tiny",
    "--segments=2",
    "--mels=32",
    "--frames=48",
    "--text=16",
    "--config.model.layers=1",
)
NARROW = (
    "--config.model.layers=1",
    "--config.model.hidden=64",
    "--config.model.heads=2",
    "--config.model.ffn=128",
)
# The MiB that may be copied in large copies, chips and config. MusiCNN's windows are copied: their
# maxima want another order than their convolutions. MuLaP hears with it. With FSDP the gradient of
# the table of words is.
CASES = {
    "atbert on an H100": (0, "h100", *ATBERT),
    "atbert on TPUs, fsdp and tensor-parallel": (
        8,
        "v5e:2x2",
        *ATBERT,
        "--config.sharding.fsdp=True",
        "--config.sharding.model=2",
    ),
    "musicnn on two H100s": (14, "h100x2", "--config=configs/tagger.py:musicnn,mtat"),
    "m3bert on TPUs, fsdp": (
        0,
        "v5e:2x2",
        "--config=configs/m3bert_pretrain.py",
        *NARROW,
        "--config.sharding.fsdp=True",
    ),
    "crossmodal on two H100s": (
        0,
        "h100x2",
        "--config=configs/crossmodal.py:audio_text,small",
        *NARROW,
    ),
    "mulap on an H100": (None, "h100", "--config=configs/mulap_pretrain.py:tiny", *NARROW),
}
LARGEST = 4 * 2**20


@pytest.mark.parametrize("case", CASES)
def test_a_step_compiles(case):
    copied, chips, *given = CASES[case]
    # In a process of its own: a compiler that aborts would take the other tests with it.
    done = subprocess.run(
        [
            sys.executable,
            "benchmarks/ahead_of_time.py",
            f"--topology={chips}",
            "--json",
            "--batch=4",
            *given,
            "--config.model.dtype=bfloat16",
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["fits"]
    assert found["flops"] > 0
    assert found["donated_arrays"] == found["state_arrays"]
    assert found["float32_convolutions"] == 0
    assert found["gathered_activation_bytes"] < LARGEST
    if chips.startswith("v5e") and "--config.sharding.model=2" not in given:
        # Of parameters, positions alone are added in bfloat16.
        assert found["rounded_sum_bytes"] < 4096
    if copied is not None:
        assert found["large_copy_bytes"] <= copied * 2**20
