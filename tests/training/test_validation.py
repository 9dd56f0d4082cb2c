"""How a split is asked."""

import jax
import numpy as np

from atbert_jax.parallel import sharding
from atbert_jax.training import validation
from tests import tiny


def test_the_next_batch_is_on_its_way_before_answers_are_fetched(monkeypatch):
    said, fetch = [], jax.device_get

    def model(batch):
        said.append(f"ask {int(batch['record'][0])}")
        kept = {"record": batch["record"], "valid": batch["valid"]}
        return ({}, {}), {"objective": {"values": batch["record"]}}, kept

    def device_get(answer):
        found = fetch(answer)
        said.append(f"fetch {found[2]['record'][0]}")
        return found

    monkeypatch.setattr(jax, "device_get", device_get)
    batches = [
        tiny.make_batch(2) | {"record": np.array([number, number], np.int32)} for number in range(3)
    ]
    ((_, outputs),) = validation.answers([model], batches, sharding.make_mesh())
    assert said == ["ask 0", "ask 1", "fetch 0", "ask 2", "fetch 1", "fetch 2"]
    np.testing.assert_array_equal(outputs["objective"]["values"], [0, 0, 1, 1, 2, 2])


def test_a_split_of_one_batch_is_answered_too():
    assert list(validation.one_behind(iter([1]))) == [1]
    assert list(validation.one_behind(iter([]))) == []
