"""What a step costs: shapes, FLOPs and bytes between devices."""

import io
import re

import pytest
from rich.console import Console

from atbert_jax.parallel import hlo, sharding
from atbert_jax.training import description
from tests import tiny


def test_the_abstract_batch_has_the_shapes_of_a_real_one():
    real = tiny.make_batch(4)
    found = description.abstract_batch(tiny.make_contract(), "log_mel", 4)
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        name: (x.shape, x.dtype) for name, x in real.items()
    }


def test_bytes_are_those_of_a_ring():
    program = """
  %all-reduce.1 = f32[1000]{0} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}
  %all-reduce.2 = (f32[10]{0}, bf16[20]{0}) all-reduce(%y, %z), replica_groups=[1,8]<=[8], to=%add
  %all-gather.3 = f32[800]{0} all-gather(%w), replica_groups=[1,8]<=[8], dimensions={0}
  %all-reduce.5 = (f32[9], /*index=5*/f32[1]) all-reduce(%v), replica_groups=mesh['a'=4,'b'=2] {'b'}
  %add.4 = f32[1000]{0} add(%all-reduce.1, %all-reduce.1)
"""
    found = hlo.Program(program).traffic(8)
    assert found.keys() == {"all-reduce", "all-gather"}
    count, sent = found["all-reduce"]
    assert count == 3
    assert sent == pytest.approx(2 * 4000 * 3 / 4 + 2 * 80 * 7 / 8 + 2 * 40 / 2)
    assert found["all-gather"] == (1, pytest.approx(3200 * 7 / 8))


def test_a_step_is_compiled_without_arrays_and_counted():
    config = tiny.make_config(**{"objectives.correct_pair": 1.0, "train.batch_size": 4})
    contract, mesh = tiny.make_contract(), sharding.make_mesh(None)
    compiled, flops = description.compile_step(config, contract, mesh)
    config.train.batch_size = 8
    _, twice = description.compile_step(config, contract, mesh)
    assert 1e4 < flops < twice < 2.2 * flops
    assert hlo.Program(compiled.as_text()).traffic(1) == {}


def test_describes_a_config_and_trains_nothing(tone_manifest, tone_config, tmp_path):
    config = tone_config(tone_manifest(), **{"train.batch_size": 4})
    config.model.update({"depths": (1,), "width": 4, "hidden": 16, "heads": 2, "layers": 1})
    config.objectives.classification = 1.0
    config.optimizer.frozen = ("^model/",)
    console = Console(file=io.StringIO(), width=200)
    description.describe(config, tmp_path / "run", console)
    said = console.file.getvalue()
    for text in (
        "model/encoders/shared/layers/0/query/kernel",
        "(16, 16)",
        "GFLOPs per example",
        "MiB",
    ):
        assert text in said
    # A head of two layers for two labels: 16 x 8 + 8, and 8 x 2 + 2.
    assert re.search(r"all 154 parameters that are trained .* yes .* 616 ", said)
    assert re.search(r"all [\d,]+ parameters that are frozen .* no ", said)
    assert not (tmp_path / "run").exists()
