"""The learner: what it does to a batch, and that it encodes nothing twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives import OBJECTIVES
from atbert_jax.training.learner import EncodeOnce, Learner
from atbert_jax.training.state import define
from tests.tiny import make_batch, make_config, make_contract, make_module


def test_rows_lose_one_modality_at_most_and_as_often_as_asked():
    config = make_config(**{"train.modality_dropout": 0.4, "objectives.alignment": 1.0})
    learner = make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    batch = {name: jnp.asarray(x) for name, x in make_batch(2000).items()}
    batch["token_mask"] = batch["token_mask"].at[:500].set(0)
    augmented = learner.augment(batch, jax.random.key(0))
    clips, texts = (
        np.asarray(augmented[name].max(axis=1)) for name in ("segment_mask", "token_mask")
    )
    assert (clips[:500] == 1).all()  # these had no text to do without
    assert (clips + texts >= 1).all()
    for lost in (clips[500:] == 0, texts[500:] == 0):
        assert lost.mean() == pytest.approx(0.2, abs=0.04)
    plain = make_module(
        lambda: Learner(make_config(**{"objectives.alignment": 1.0}), make_contract(), rngs=Keys(0))
    )
    assert plain.augment(batch, jax.random.key(0)) is batch


@pytest.mark.parametrize("sharing", ["all", "factorized"])
def test_no_array_is_weakly_typed_and_would_compile_the_step_again(sharing):
    frames_alone = {"masked_acoustic"}
    wanted = {f"objectives.{name}": 1.0 for name in OBJECTIVES.keys() - frames_alone}
    config = make_config(**wanted, **{"model.sharing": sharing})
    _, *trees = define(config, make_contract())
    assert not [x for x in jax.tree.leaves(trees) if x.weak_type]


@pytest.mark.parametrize("sharing", ["all", "layers", "none", "factorized"])
def test_no_parameter_has_two_places(sharing):
    wanted = {f"objectives.{name}": 1.0 for name in OBJECTIVES.keys() - {"masked_acoustic"}}
    config = make_config(**wanted, **{"model.sharing": sharing})
    learner = nnx.eval_shape(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    # Flax's tree mode refuses a parameter that it meets twice.
    found, expected = (
        nnx.to_pure_dict(nnx.split(learner, nnx.Param, nnx.BatchStat, graph=graph)[1])
        for graph in (False, True)
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)


class Counting(Trunk):
    """Counts embeddings and streams in its states, and notes the keys."""

    audio_input = "log_mel"

    def __init__(self) -> None:
        self.keys = nnx.static([])

    def _next(self, mask, key) -> Encoded:
        self.keys.append(key)
        return Encoded(np.full((*mask.shape, 1), len(self.keys)), mask)

    def embed_audio(self, batch, key) -> Encoded:
        return self._next(batch["segment_mask"], key)

    def embed_text(self, batch, key) -> Encoded:
        return self._next(batch["token_mask"], key)

    def contextualize_audio(self, embedded, key) -> Encoded:
        return self._next(embedded.mask, key)

    contextualize_text = contextualize_audio


FIELDS = {"audio": ("log_mel", "samples", "segment_mask"), "text": ("token_ids", "token_mask")}


@pytest.mark.parametrize(("modality", "field"), [(m, f) for m in FIELDS for f in FIELDS[m]])
def test_a_trunk_encodes_the_same_arrays_once(modality, field):
    trunk, batch = Counting(), make_batch(2)
    once = EncodeOnce(trunk)
    embed, encode = {
        "audio": (once.embed_audio, once.encode_audio),
        "text": (once.embed_text, once.encode_text),
    }[modality]
    first = encode(batch, "first")
    assert encode(dict(batch), "second") is first
    assert embed(batch, "third").hidden.max() == 1
    assert trunk.keys == ["first"] * 2
    changed = encode(batch | {field: batch[field].copy()}, "fourth")
    assert changed.hidden.max() == len(trunk.keys) == 4
    assert encode(batch, "fifth") is first


def test_the_other_modality_and_masked_embeddings_are_encoded_by_themselves():
    trunk, batch = Counting(), make_batch(2)
    once = EncodeOnce(trunk)
    once.encode_audio(batch, None)
    once.encode_text(batch, None)
    assert len(trunk.keys) == 4
    embedded = once.embed_audio(batch, None)
    masked = Encoded(0 * embedded.hidden, embedded.mask)
    assert once.contextualize_audio(masked, None).hidden.max() == 5


def test_a_frozen_trunk_gets_no_key():
    trunk = Counting()
    EncodeOnce(trunk, frozen=True).encode_audio(make_batch(2), "key")
    assert trunk.keys == [None, None]
