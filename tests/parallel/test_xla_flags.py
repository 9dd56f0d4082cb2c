"""Which flags XLA is given, and that nobody's own are touched."""

import importlib
import os
import subprocess
import sys

import pytest

from atbert_jax.parallel import xla_flags

SCHEDULER = "--xla_gpu_enable_latency_hiding_scheduler=true"
NO_TRITON = "--xla_gpu_enable_triton_gemm=false"


@pytest.fixture
def cuda(tmp_path, monkeypatch) -> None:
    """A plugin for NVIDIA GPUs where JAX looks for plugins, and no wish for a platform."""
    (tmp_path / "jax_plugins" / "xla_cuda13").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "xla_cuda13" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jax_plugins", raising=False)
    importlib.invalidate_caches()
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    # Set first, so that whatever is set later is taken back.
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.mark.parametrize(
    ("jaxlib", "expected"),
    [
        ("0.10.2", (SCHEDULER, NO_TRITON)),
        ("0.11.2", (SCHEDULER, NO_TRITON)),
        ("0.12.0.1", (SCHEDULER,)),
        ("1.0.0", (SCHEDULER,)),
    ],
)
def test_triton_is_off_before_012(jaxlib, expected):
    assert xla_flags.chosen("", jaxlib) == expected


@pytest.mark.parametrize(
    "given",
    ["--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm", f" {NO_TRITON} --a=b"],
)
def test_a_flag_that_is_named_is_left_alone(given):
    assert xla_flags.chosen(given, "0.10.2") == (SCHEDULER,)


def test_a_file_of_flags_is_left_alone():
    assert xla_flags.chosen("flags.txt", "0.10.2") == ()


@pytest.mark.usefixtures("cuda")
def test_flags_are_added_to_the_given_ones(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/dump")
    xla_flags.set_xla_flags()
    first, *added = os.environ["XLA_FLAGS"].split()
    assert first == "--xla_dump_to=/tmp/dump"
    assert SCHEDULER in added
    before = os.environ["XLA_FLAGS"]
    xla_flags.set_xla_flags()
    assert os.environ["XLA_FLAGS"] == before


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    ("platforms", "expected"),
    [("", True), ("cuda", True), ("cuda,cpu", True), ("gpu", True), ("cpu", False), ("tpu", False)],
)
def test_platforms_decide(platforms, expected, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert xla_flags.will_use_cuda() is expected
    xla_flags.set_xla_flags()
    assert bool(os.environ["XLA_FLAGS"]) is expected


def test_without_a_plugin_nothing_is_set(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(xla_flags, "find_spec", lambda name: None)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    xla_flags.set_xla_flags()
    assert "XLA_FLAGS" not in os.environ


def test_this_jaxlib_knows_the_flags():
    flags = " ".join(xla_flags.chosen("", xla_flags.version("jaxlib")))
    # XLA aborts at an unknown one, and that it does is what makes this a test.
    for more, succeeds in (("", True), (" --xla_gpu_no_such_flag=true", False)):
        environment = os.environ | {"XLA_FLAGS": flags + more, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", "import jax; jax.devices()"]
        result = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (result.returncode == 0) is succeeds, result.stderr
