"""What is frozen stays bit for bit, costs no backward pass, and counts nowhere."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from atbert_jax.parallel import sharding
from atbert_jax.training import description, freezing
from atbert_jax.training.state import combine, partition
from atbert_jax.training.step import make_evaluation_step
from tests import tiny

PARAMS = {
    "model": {"blocks": {0: {"kernel": 1, "bias": 2}, 1: {"kernel": 3}}, "start": 4},
    "objectives": {"pair": {"kernel": 5}},
}
CLASSIFY = {
    "objectives.classification": 1.0,
    "classification.views": ("audio",),
    "classification.head": "linear",
    "model.dropout": 0.3,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 0.01,
    "optimizer.weight_decay": 0.1,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 0,
}
TRUNK = ("^model/",)
LOWER = ("audio_cnn/(stem|blocks/0/reduce)", "^model/word_embeddings")


@pytest.mark.parametrize(
    ("expressions", "frozen"),
    [
        ((), []),
        (("^model/",), [1, 2, 3, 4]),
        (("blocks/0/", "pair"), [1, 2, 5]),
        (("kernel$",), [1, 3, 5]),
        (("^model/(?!blocks/1)",), [1, 2, 4]),
    ],
)
def test_parts_are_found_by_name_and_put_together_again(expressions, frozen):
    trained, kept = partition(PARAMS, freezing.find(PARAMS, expressions))
    assert sorted(jax.tree.leaves(kept)) == frozen
    assert sorted(jax.tree.leaves(trained) + frozen) == [1, 2, 3, 4, 5]
    assert combine(trained, kept) == PARAMS


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        (
            ("start", "^model/blokcs"),
            r"'\^model/blokcs' is found in no .* near it are model/blocks",
        ),
        (("nothing",), "'nothing' is found in no parameter's name; near it are none; .*--describe"),
        (("model/(",), r"'model/\(' is no regular expression \(missing \)"),
        (("^model", "pair"), r"frozen=\('\^model', 'pair'\) leaves nothing to train"),
    ],
)
def test_expressions_that_make_no_sense_are_refused(expressions, message):
    with pytest.raises(ValueError, match=message):
        freezing.find(PARAMS, expressions)


def changed(old: dict, new: dict) -> set[str]:
    """Names of the arrays that are not the same bit for bit."""
    old, new = tiny.named(old), tiny.named(new)
    assert old.keys() == new.keys()
    return {
        name for name in old if np.asarray(old[name]).tobytes() != np.asarray(new[name]).tobytes()
    }


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("frozen", [TRUNK, LOWER], ids=["trunk", "lower"])
def test_frozen_arrays_stay_and_the_others_move(frozen, accumulate):
    """Weights would decay, and statistics move, if they were not frozen."""
    setup = tiny.Setup(**CLASSIFY, **{"optimizer.frozen": frozen, "train.accumulate": accumulate})
    state = setup.state()
    for seed in range(3):
        state, metrics = setup.step(state, setup.put(tiny.make_batch(8, seed)))
    assert metrics["nonfinite_steps"] == 0
    trained = tiny.named(state.trained)
    assert 0 < len(trained) < len(tiny.named(setup.params))
    moved = changed(setup.params, state.params)
    assert moved <= trained.keys()
    assert {f"objectives/classification/output/{kind}" for kind in ("kernel", "bias")} <= moved
    assert ("model/encoders/shared/layers/0/query/kernel" in moved) == (frozen is LOWER)
    # Of everything that is trained there are two moments, of the rest none.
    arrays = [x for x in jax.tree.leaves(state.optimizer) if x.ndim]
    assert sum(x.size for x in arrays) == 2 * sum(x.size for x in trained.values())
    still = {
        "trunk": "model/",
        "lower": ("model/audio_cnn/stem", "model/audio_cnn/blocks/0/reduce"),
    }
    names = set(tiny.named(setup.statistics))
    kept = {
        name for name in names if name.startswith(still["trunk" if frozen is TRUNK else "lower"])
    }
    assert len(kept) == (len(names) if frozen is TRUNK else 4)
    assert changed(setup.statistics, state.statistics) == names - kept


@pytest.fixture(scope="module")
def probe() -> tiny.Setup:
    """A linear probe that descends the gradient, clipped to a length of 0.01."""
    plain = {"optimizer.name": "sgd", "optimizer.b1": 0.0, "optimizer.learning_rate": 1.0}
    return tiny.Setup(
        **CLASSIFY | plain, **{"optimizer.frozen": TRUNK, "optimizer.clip_norm": 0.01}
    )


def test_a_frozen_trunk_acts_as_in_evaluation(probe):
    """Neither its dropout nor the company in the batch changes the loss."""
    state, batch = probe.state(), probe.put(tiny.make_batch(8))
    evaluate = make_evaluation_step(probe.definition, probe.mesh, probe.layout.state.params)
    (losses, _), _, _ = evaluate(state.params, state.statistics, batch)
    total, weight = losses["classification"]
    _, metrics = probe.step(state, batch)
    assert float(metrics["loss"]) == pytest.approx(float(total / weight), rel=1e-6)


def test_norm_and_clipping_are_of_what_is_trained(probe):
    batch = tiny.make_batch(8)
    new, metrics = probe.step(probe.state(), probe.put(batch))
    step = jax.tree.map(lambda old, new: old - new, probe.params, new.params)
    assert float(optax.tree.norm(step)) == pytest.approx(0.01, rel=1e-4)

    @jax.jit
    @jax.grad
    def gradient(head: dict) -> jax.Array:
        learner = nnx.merge(probe.definition, probe.params, probe.statistics)
        hidden = learner.model.encode_audio(batch, None).hidden[:, 0]
        logits = hidden @ head["kernel"] + head["bias"]
        return optax.softmax_cross_entropy(logits, batch["labels"]).mean()

    head = probe.params["objectives"]["classification"]["output"]
    length = float(optax.tree.norm(gradient(head)))
    assert length > 0.02
    assert float(metrics["gradient_norm"]) == pytest.approx(length, rel=1e-4)


def test_what_is_frozen_is_not_differentiated():
    """A backward pass takes about twice the work of the forward pass."""

    def flops(frozen: tuple[str, ...]) -> float:
        config = tiny.make_config(**CLASSIFY, **{"optimizer.frozen": frozen, "train.batch_size": 4})
        return description.compile_step(config, tiny.make_contract(), sharding.make_mesh(None))[1]

    probe, partial, whole = flops(TRUNK), flops(("^model/audio_cnn/",)), flops(())
    assert probe < partial < whole
    assert probe < 0.45 * whole
