"""What every model owes: shapes, widths and masks, as `Trunk` states them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.views import AUDIO, AUDIO_TEXT, TEXT, possible
from tests import ear, tiny
from tests.models import clap_sizes, test_crossmodal, test_m3bert

ROWS = 2
FRAMES = {"model.name": "m3bert", "data.input": "frames", "m3bert.downsample": 3}
ONE = {f"crossmodal {name}": {"crossmodal.modalities": (name,)} for name in (AUDIO, TEXT)}
# Changes of the config, the contract, and a batch.
FAMILIES = {
    **{
        f"atbert {fusion}": ({"model.fusion": fusion}, tiny.make_contract, tiny.make_batch)
        for fusion in ("early", "mid", "late")
    },
    "mulap": (ear.MULAP, tiny.make_contract, ear.make_batch),
    "tagger": (ear.CONFIG, tiny.make_contract, ear.make_batch),
    "clap": (clap_sizes.CHANGES, lambda: clap_sizes.contract(fused=False), clap_sizes.make_batch),
    "m3bert": (FRAMES, test_m3bert.make_contract, lambda rows: test_m3bert.make_batch(10, 7)),
    **{
        name: (
            test_crossmodal.SETTINGS | changes,
            test_crossmodal.make_contract,
            test_crossmodal.make_batch,
        )
        for name, changes in ({"crossmodal": {}} | ONE).items()
    },
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    ear.install(monkeypatch)


def test_every_model_is_a_trunk():
    assert all(issubclass(each, Trunk) for each in models.MODELS.values())
    with pytest.raises(ValueError, match=r"config\.model\.name='resnet' is none of atbert, "):
        models.trunk_class("resnet")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("key", [None, 0], ids=["evaluation", "training"])
def test_shapes_are_those_of_the_contract(name, key):
    changes, make_contract, make_batch = FAMILIES[name]
    config, contract = tiny.make_config(**changes), make_contract()
    about = {}

    def run(batch: dict) -> dict:
        trunk = models.build(config, contract, rngs=Keys(0))
        own = None if key is None else jax.random.key(key)
        about["trunk"], found = trunk, {}
        batch = {field: jnp.asarray(x) for field, x in batch.items()}
        if AUDIO in trunk.modalities:
            embedded = trunk.embed_audio(batch, own)
            found[AUDIO] = (embedded, trunk.contextualize_audio(embedded, own))
            assert _shapes(trunk.encode_audio(batch, own)) == _shapes(found[AUDIO][1])
        if TEXT in trunk.modalities:
            embedded = trunk.embed_text(batch, own)
            found[TEXT] = (embedded, trunk.contextualize_text(embedded, own))
            assert _shapes(trunk.encode_text(batch, own)) == _shapes(found[TEXT][1])
        audio, text = (found[each][1] if each in found else None for each in (AUDIO, TEXT))
        pairs = {AUDIO_TEXT: (audio, text), AUDIO: (audio, None), TEXT: (None, text)}
        pairs = {view: pairs[view] for view in possible(trunk)}
        fused = {view: trunk.fuse(*pair, own) for view, pair in pairs.items()}
        streams = {}
        if trunk.has_streams:
            streams = {view: trunk.fuse_streams(*pair, own) for view, pair in pairs.items()}
        return {"found": found, "pairs": pairs, "fused": fused, "streams": streams}

    batch = make_batch(ROWS)
    shapes = nnx.eval_shape(lambda: run(batch))
    trunk = about["trunk"]
    assert AUDIO not in trunk.modalities or trunk.audio_input in batch
    for encoded in jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, Encoded)):
        assert encoded.hidden.shape[:2] == encoded.mask.shape
        assert len(encoded.mask) == ROWS
    for states in shapes["fused"].values():
        assert states.hidden.shape[2] == trunk.hidden
    for view, streams in shapes["streams"].items():
        assert _shapes(streams) == _shapes(shapes["pairs"][view])
    for modality, (embedded, stream) in shapes["found"].items() if trunk.has_streams else ():
        assert embedded.hidden.shape[2] == trunk.embedding_widths[modality]
        assert stream.hidden.shape[2] == trunk.stream_widths[modality]


def _shapes(tree: object) -> object:
    return jax.tree.map(lambda x: x.shape, tree)


@pytest.mark.parametrize("name", ["atbert mid", "mulap", "tagger", "m3bert", "crossmodal", "clap"])
def test_every_model_can_be_rematerialized(name):
    changes, make_contract, make_batch = FAMILIES[name]
    contract, batch, key = make_contract(), make_batch(ROWS), jax.random.key(0)
    batch = {field: jnp.asarray(x) for field, x in batch.items()}

    def gradients(*, remat: bool):
        config = tiny.make_config(**changes, **{"model.remat": remat})
        trunk = tiny.make_module(lambda: models.build(config, contract, rngs=Keys(0)))
        definition, params, rest = nnx.split(trunk, nnx.Param, ...)

        def loss(params):
            trunk = nnx.merge(definition, params, rest, copy=True)
            views = [trunk.encode_audio(batch, key)]
            views += [trunk.encode_text(batch, key)] if TEXT in trunk.modalities else [None]
            return (trunk.fuse(*views, key).hidden.astype(jnp.float32) ** 2).sum()

        gradient = jax.grad(loss)
        return str(jax.make_jaxpr(gradient)(params)).count("remat"), jax.jit(gradient)(params)

    (without, expected), (times, found) = (gradients(remat=remat) for remat in (False, True))
    assert times > without == 0
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
