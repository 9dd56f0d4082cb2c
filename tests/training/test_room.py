"""A run that does not fit into memory is refused or warned of, by the fields to change."""

import types

import jax
import jax.numpy as jnp
import pytest

from atbert_jax.training import room
from tests import tiny


@pytest.fixture(scope="module")
def step():
    """A program with a result of 1 MiB beside its argument of 4 bytes."""
    return jax.jit(lambda x: jnp.full(2**18, x)).lower(jnp.float32(0)).compile()


@pytest.fixture
def machine(monkeypatch):
    """Sets the bytes that this machine has, and those that are free."""

    def has(limit: int, free: int) -> None:
        monkeypatch.setattr(room, "of_machine", lambda: (limit, free, "this machine"))

    return has


def test_a_step_that_cannot_fit_is_refused(step, machine):
    machine(2**19, 2**19)
    message = r"needs 0\.00 GB for a training step, and this machine .*lower config\.train\.batch"
    with pytest.raises(ValueError, match=message):
        room.require(tiny.make_config(), step, 0)


def test_a_run_that_may_not_fit_is_warned_of(step, machine, caplog):
    machine(2**22, 2**22)
    room.require(tiny.make_config(), step, 2**20)
    assert not caplog.text
    room.require(tiny.make_config(), step, 2**22)
    assert "GB for remembered clips, and this machine has" in caplog.text
    assert "config.data.memory_mb=" in caplog.text


def test_this_machine_has_memory():
    limit, free, where = room.of_machine()
    assert limit > 2**28
    assert 0 < free <= limit
    assert where


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("268435456\n")
    files = [tmp_path / "missing", tmp_path / "memory.max"]
    monkeypatch.setattr(room, "_control_groups", lambda: files)
    limit, free, where = room.of_machine()
    assert limit == 2**28
    assert free <= limit
    assert str(tmp_path / "memory.max") in where
    files[1].write_text("max\n")
    assert room.of_machine()[0] > limit


def test_the_program_is_counted_as_its_parts_say():
    sizes = {"argument": 8, "output": 4, "alias": 3, "temp": 16, "generated_code": 1}
    analysis = types.SimpleNamespace(**{f"{k}_size_in_bytes": v for k, v in sizes.items()})
    assert room.peak(analysis) == 8 + 4 - 3 + 16 + 1
