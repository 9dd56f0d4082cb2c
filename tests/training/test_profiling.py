"""The trace of some steps: which ones, and where it lies."""

import contextlib
import io

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from atbert_jax.training import profiling
from atbert_jax.training.profiling import LEFT_OUT, Trace


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=500)


@pytest.mark.parametrize(("asked", "run", "traced"), [(2, 9, 2), (5, 7, 2), (3, 5, 0), (0, 9, 0)])
def test_as_many_steps_as_asked_for_or_as_there_are(
    asked, run, traced, console, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(profiling.jax.profiler, "start_trace", lambda _: said.append("start"))
    monkeypatch.setattr(profiling.jax.profiler, "stop_trace", lambda: said.append("stop"))
    with contextlib.closing(Trace(tmp_path, asked, console)) as trace:
        for number in range(run):
            trace.advance(jnp.zeros(()))
            said.append(number)
    if traced:
        inside = said[said.index("start") + 1 : said.index("stop")]
        assert inside == list(range(LEFT_OUT, LEFT_OUT + traced))
        assert f"{traced} steps are traced" in console.file.getvalue()
    else:
        assert said == list(range(run))
        assert not console.file.getvalue()


def test_the_trace_is_where_tensorboard_looks(console, tmp_path):
    with contextlib.closing(Trace(tmp_path, 1, console)) as trace:
        for _ in range(LEFT_OUT + 1):
            trace.advance(jnp.zeros(()))
            jax.block_until_ready(jnp.ones(3) + 1)
    folder = tmp_path / "tensorboard"
    assert list((folder / "plugins" / "profile").glob("*/*.xplane.pb"))
    assert f"tensorboard --logdir {folder}" in console.file.getvalue()
