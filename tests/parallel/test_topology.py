"""Names of chips."""

import pytest

from atbert_jax.parallel import topology


def test_a_topology_names_its_chip():
    assert topology.chip("h100x8") == topology.chip("h100") == topology.CHIPS["h100"]
    assert topology.chip("v5e:4x4").memory == 16e9
    assert topology.chip("v4:2x2x2").platform == "tpu"


@pytest.mark.parametrize("name", ["h100x0", "v5e", "v9e:2x2", "h200", "a v5e:4x4"])
def test_an_unknown_topology_is_refused(name):
    with pytest.raises(ValueError, match=r"no topology .*use h100"):
        topology.chip(name)
