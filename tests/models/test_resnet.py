"""The ResNet: its size, its shapes, its masks, and parity with PyTorch's convolutions and norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.keys import Keys
from atbert_jax.models.resnet import ResNet, Separable
from atbert_jax.weights import engine, resnet_rules
from tests import tiny

DEPTHS, WIDTH = (2, 1, 1, 1), 4


@pytest.fixture
def net() -> ResNet:
    """A small one whose residual branches are not 0, with running statistics that are not fresh."""
    return tiny.make_module(lambda: ResNet(DEPTHS, WIDTH, dtype=jnp.float32, rngs=Keys(0)))


def call(net: ResNet, log_mel: np.ndarray, mask: np.ndarray, *, train: bool):
    """Features and the running statistics afterwards; the net itself stays as it is."""
    definition, state = nnx.split(net)

    @jax.jit
    def run(state, log_mel, mask):
        net = nnx.merge(definition, state)
        features = net(log_mel, mask, jax.random.key(0) if train else None)
        return features, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

    features, statistics = run(state, log_mel, mask)
    return np.asarray(features), tiny.named(statistics)


def segments(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 16, 24)).astype(np.float32)


@pytest.mark.parametrize(
    ("width", "separable", "shape", "maps", "count"),
    [
        (
            64,
            False,
            (16, 24),
            [(16, 24, 256), (8, 12, 512), (4, 6, 1024), (2, 3, 2048)],
            23_503_808,
        ),
        (
            32,
            True,
            (80, 128),
            [(40, 64, 128), (20, 32, 256), (10, 16, 512), (5, 8, 1024)],
            5_839_840,
        ),
    ],
    ids=["ATBERT", "AVBert"],
)
def test_resnet_50_has_the_published_size_and_maps(width, separable, shape, maps, count):
    def run():
        net = ResNet((3, 4, 6, 3), width, separable=separable, dtype=jnp.float32, rngs=Keys(0))
        mask = jnp.ones(2)
        x = net.stem(jnp.zeros((2, *shape, 1)), mask, False)
        found = [x]
        for block in net.blocks:
            x = block(x, mask, False)
            found.append(x)
        return net, found, net(jnp.zeros((2, 64, 50)), mask, None)

    net, found, features = nnx.eval_shape(run)
    assert tiny.count(net) == count
    assert found[0].shape[1:] == (*shape, width)
    assert [found[number].shape[1:] for number in np.cumsum((3, 4, 6, 3))] == maps
    assert features.shape == (2, net.features) == (2, 32 * width)


def test_a_separable_convolution_goes_along_frequency_and_then_along_time():
    part = tiny.make_module(
        lambda: Separable(2, 3, 3, stride=2, norm="batch", dtype=jnp.float32, rngs=Keys(0))
    )
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 2)).astype(np.float32)
    mask = jnp.ones(2)

    def conv(x, kernel, strides, padding):
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    frequency, time = part.frequency, part.time
    assert frequency.conv.kernel.shape == (3, 1, 2, 3)
    assert time.conv.kernel.shape == (1, 3, 3, 3)

    @tiny.one_program
    def run(x):
        y = conv(x, frequency.conv.kernel[...], (2, 1), [(1, 1), (0, 0)])
        y = nnx.relu(frequency.norm(y, mask, False))
        y = conv(y, time.conv.kernel[...], (1, 2), [(0, 0), (1, 1)])
        return part(x, mask, False), time.norm(y, mask, False)

    np.testing.assert_allclose(*run(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 24), (64, 50), (5, 7)])
def test_any_spectrogram_gives_one_vector_for_each_segment(net, shape):
    features = jax.eval_shape(lambda x: net(x, jnp.ones(3), None), jnp.zeros((3, *shape)))
    assert features.shape == (3, WIDTH * 4 * 8)


def test_padded_segments_change_neither_statistics_nor_real_outputs(net):
    real = segments(4)
    padded = np.concatenate([real[:2], 100 * segments(3, seed=1), real[2:]])
    mask = np.array([1, 1, 0, 0, 0, 1, 1], np.float32)
    expected, statistics = call(net, real, np.ones(4, np.float32), train=True)
    features, with_padding = call(net, padded, mask, train=True)
    np.testing.assert_allclose(features[mask > 0], expected, rtol=1e-4, atol=1e-5)
    for name, value in statistics.items():
        np.testing.assert_allclose(with_padding[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    # Without the mask they do: the comparison above can fail.
    unmasked, _ = call(net, padded, np.ones(7, np.float32), train=True)
    assert np.abs(unmasked[mask > 0] - expected).max() > 0.1


def test_a_batch_of_nothing_but_padding_leaves_finite_statistics(net):
    features, statistics = call(net, 0 * segments(2), np.zeros(2, np.float32), train=True)
    assert np.isfinite(features).all()
    assert all(np.isfinite(value).all() for value in statistics.values())


def test_evaluation_leaves_the_statistics_and_sees_each_segment_alone(net):
    batch, mask = segments(4), np.ones(4, np.float32)
    before = tiny.named(nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)))
    features, after = call(net, batch, mask, train=False)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    alone, _ = call(net, batch[:1], mask[:1], train=False)
    np.testing.assert_allclose(features[:1], alone, rtol=1e-5, atol=1e-6)


def test_normalisations_that_are_frozen_act_as_in_evaluation(net):
    batch, mask = segments(4), np.ones(4, np.float32)
    expected, before = call(net, batch, mask, train=False)
    for _, module in nnx.iter_modules(net):
        if isinstance(module, BatchNorm):
            module.use_running_average = True
    features, after = call(net, batch, mask, train=True)
    np.testing.assert_array_equal(features, expected)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def _torch_forward(torch, state: dict, log_mel: np.ndarray, train: bool):
    """torchvision's ResNet with our stem, by its names; running statistics change in `state`."""
    functional, counts = torch.nn.functional, {}

    def conv_norm(x, conv, norm, stride, padding):
        x = functional.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, scale, bias = (
            state[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        counts[f"{norm}.running_var"] = x.numel() // x.shape[1]
        return functional.batch_norm(x, mean, var, scale, bias, train, momentum=0.1, eps=1e-5)

    x = conv_norm(torch.tensor(log_mel)[:, None], "conv1", "bn1", 1, 4).relu()
    for stage, depth in enumerate(DEPTHS):
        for position in range(depth):
            block = f"layer{stage + 1}.{position}"
            stride = 2 if stage > 0 and position == 0 else 1
            y = conv_norm(x, f"{block}.conv1", f"{block}.bn1", 1, 0).relu()
            y = conv_norm(y, f"{block}.conv2", f"{block}.bn2", stride, 1).relu()
            y = conv_norm(y, f"{block}.conv3", f"{block}.bn3", 1, 0)
            if position == 0:
                x = conv_norm(x, f"{block}.downsample.0", f"{block}.downsample.1", stride, 0)
            x = (x + y).relu()
    return x.mean(dim=(2, 3)).numpy(), counts


@pytest.mark.parity
@pytest.mark.parametrize("train", [False, True])
def test_equals_pytorch(net, train):
    torch = pytest.importorskip("torch", reason="parity needs PyTorch, an optional dependency")
    batch, rules = segments(6), resnet_rules.rules(resnet_rules.TORCHVISION, DEPTHS)
    before = tiny.named({"model": {"audio_cnn": nnx.to_pure_dict(nnx.state(net))}})
    state = {
        name: torch.tensor(np.array(array))
        for name, array in engine.to_theirs("net", rules, before, "")[0].items()
    }
    expected, counts = _torch_forward(torch, state, batch, train)
    features, after = call(net, batch, np.ones(6, np.float32), train=train)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    running = {rule.ours: rule.theirs for rule in rules if "running" in rule.theirs}
    assert {f"{resnet_rules.TRUNK}/{name}" for name in after} == running.keys()
    for name, theirs in running.items():
        value = state[theirs].numpy()
        if train and theirs in counts:
            # PyTorch keeps the unbiased variance of a batch, Flax the biased one.
            kept = 0.9 * before[name]
            value = kept + (value - kept) * (counts[theirs] - 1) / counts[theirs]
        found = after[name.removeprefix(f"{resnet_rules.TRUNK}/")]
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_constant_channel_has_no_negative_variance():
    """The difference of the mean square and the squared mean rounds to either side of 0."""
    norm = BatchNorm(1, momentum=0.0, epsilon=1e-12, rngs=Keys(0))
    train = nnx.jit(lambda norm, x: norm(x, jnp.ones(3), True))
    for number in range(50):
        x = np.full((3, 5, 7, 1), 1000.0 + number / 7, np.float32)
        assert np.isfinite(train(norm, x)).all()
        assert np.asarray(norm.var[...]) >= 0


def make(**settings) -> ResNet:
    return tiny.make_module(
        lambda: ResNet((1, 1), WIDTH, dtype=jnp.float32, rngs=Keys(0), **settings)
    )


def gradients(net: ResNet):
    """The gradients of the parameters, as a function of them and of the clips, to be compiled."""
    definition, params, rest = nnx.split(net, nnx.Param, ...)

    def run(params, log_mel):
        def loss(params):
            net = nnx.merge(definition, params, rest, copy=True)
            return (net(log_mel, jnp.ones(len(log_mel)), jax.random.key(0)) ** 2).sum()

        return jax.grad(loss)(params)

    return jax.jit(run), params


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_pointwise_convolutions_are_products_on_a_cpu_and_convolutions_elsewhere(platform):
    run, params = gradients(make())
    text = run.trace(params, segments(2)).lower(lowering_platforms=(platform,)).as_text()
    # 3x3 convolutions and the stem: 3, each with two gradients but for that of the log-mel; six
    # pointwise ones have three as well.
    convolutions = text.count("stablehlo.convolution")
    assert convolutions == (8 if platform == "cpu" else 8 + 6 * 3)


def test_rematerialisation_changes_no_gradient_and_keeps_less():
    clips = segments(4)
    found = {remat: gradients(make(remat=remat)) for remat in (False, True)}
    plain, again = (run(params, clips) for run, params in found.values())
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    text = [str(jax.make_jaxpr(run)(params, clips)) for run, params in found.values()]
    assert "remat" in text[1]
    assert "remat" not in text[0]


def test_a_strided_stem_leaves_a_sixteenth_of_the_positions():
    full, strided = (make(stem=stem) for stem in ("full", "strided"))
    assert tiny.count(full) == tiny.count(strided)
    text = [
        str(jax.make_jaxpr(lambda x, net=net: net(x, jnp.ones(3), None))(segments(3)))
        for net in (full, strided)
    ]
    assert "f32[3,16,24,16]" in text[0]
    assert "f32[3,4,6,16]" in text[1]
    assert "f32[3,16,24,16]" not in text[1]


def test_group_normalisation_sees_each_segment_alone_and_has_no_statistics():
    net, batch = make(norm="group"), segments(4)
    assert not jax.tree.leaves(nnx.state(net, nnx.BatchStat))
    together, _ = call(net, batch, np.ones(4, np.float32), train=True)
    alone, _ = call(net, batch[:1], np.ones(1, np.float32), train=False)
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)
    reference = nnx.GroupNorm(16, num_groups=16, rngs=Keys(0))
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    found = net.blocks[0].expand.norm(x, jnp.ones(2), True)
    scale = net.blocks[0].expand.norm.scale[...]
    bias = net.blocks[0].expand.norm.bias[...]
    np.testing.assert_allclose(found, reference(x) * scale + bias, rtol=1e-5, atol=1e-5)


def test_frozen_normalisation_goes_by_its_statistics_in_training(net):
    frozen = ResNet(DEPTHS, WIDTH, norm="frozen", dtype=jnp.float32, rngs=Keys(0))
    nnx.update(frozen, nnx.state(net))
    batch, mask = segments(4), np.ones(4, np.float32)
    expected, before = call(net, batch, mask, train=False)
    features, after = call(frozen, batch, mask, train=True)
    np.testing.assert_array_equal(features, expected)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


@pytest.mark.parametrize("field", ["stem", "norm"])
def test_an_unknown_choice_is_refused_by_its_field(field):
    with pytest.raises(ValueError, match=rf"config\.model\.{field}='other' is none of"):
        make(**{field: "other"})
