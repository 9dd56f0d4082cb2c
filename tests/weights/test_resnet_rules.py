"""The rules of ResNets: two layouts, the model's own arrays, and the stem in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.keys import Keys
from atbert_jax.models.resnet import ResNet
from atbert_jax.weights import engine, files, resnet_rules
from tests import pytorch

DEPTHS, WIDTH = (2, 1), 4
BOTH = ("torchvision", "hugging_face")


@pytest.fixture
def convert(tmp_path):
    """Converts a folder of these arrays and of this config."""

    def run(arrays, config=None, **options):
        folder = pytorch.save(tmp_path, arrays, config)
        return resnet_rules.from_pytorch(files.read_pytorch(str(folder)), "some/resnet", **options)

    return run


@pytest.mark.parametrize("names", BOTH)
def test_every_array_of_the_model_is_filled(convert, names):
    converted = convert(pytorch.resnet(DEPTHS, WIDTH, names))
    net = nnx.eval_shape(lambda: ResNet(DEPTHS, WIDTH, dtype=jnp.float32, rngs=Keys(0)))
    shapes = {
        f"model/audio_cnn/{name}": x.shape
        for name, x in engine.flat(nnx.to_pure_dict(nnx.state(net))).items()
    }
    assert {name: x.shape for name, x in converted.arrays.items()} == shapes
    assert converted.about == {
        "family": "resnet",
        "source": "some/resnet",
        "depths": [2, 1],
        "width": 4,
        "stem": "adapt",
    }
    assert {name.rsplit(".", 1)[1] for name in converted.unused} == {
        "num_batches_tracked",
        "weight",
        "bias",
    }
    heads = [name for name in converted.unused if not name.endswith("num_batches_tracked")]
    assert sorted(name.rsplit(".", 1)[0] for name in heads) == (
        ["fc", "fc"] if names == "torchvision" else ["classifier.1", "classifier.1"]
    )


def test_both_layouts_are_the_same_model(convert):
    one, other = (convert(pytorch.resnet(DEPTHS, WIDTH, names)).arrays for names in BOTH)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)


@pytest.mark.parametrize("layout", [resnet_rules.TORCHVISION, resnet_rules.HUGGING_FACE])
def test_there_and_back_is_the_same_to_the_bit(convert, layout):
    arrays = convert(pytorch.resnet(DEPTHS, WIDTH, "torchvision")).arrays
    back, _, left = engine.to_theirs("here", resnet_rules.rules(layout, DEPTHS), arrays, "unused")
    assert not left
    # A stem of 9x9 and one channel is adapted to itself.
    again = convert(back).arrays
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_names_here_and_axes(convert):
    arrays = pytorch.resnet(DEPTHS, WIDTH, "torchvision")
    converted = convert(arrays).arrays
    for ours, theirs in (
        ("blocks/1/conv/conv/kernel", arrays["layer1.1.conv2.weight"].transpose(2, 3, 1, 0)),
        ("blocks/2/shortcut/norm/scale", arrays["layer2.0.downsample.1.weight"]),
        ("blocks/2/expand/norm/bias", arrays["layer2.0.bn3.bias"]),
        ("blocks/0/reduce/norm/mean", arrays["layer1.0.bn1.running_mean"]),
        ("stem/norm/var", arrays["bn1.running_var"]),
    ):
        np.testing.assert_array_equal(converted[f"model/audio_cnn/{ours}"], theirs, err_msg=ours)


def test_the_adapted_stem_hears_as_the_original_sees_grey():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(5, 3, 7, 7)).astype(np.float32)
    grey = rng.normal(size=(2, 1, 12, 10)).astype(np.float32)

    def convolve(x, kernel, padding):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), [(padding, padding)] * 2, precision="highest"
        )

    adapted = resnet_rules.adapt_stem(kernel)
    assert adapted.shape == (5, 1, 9, 9)
    np.testing.assert_allclose(
        convolve(grey, adapted, 4), convolve(np.repeat(grey, 3, axis=1), kernel, 3), atol=1e-4
    )
    np.testing.assert_array_equal(resnet_rules.adapt_stem(adapted), adapted)


@pytest.mark.parametrize("size", [4, 11])
def test_stems_that_cannot_be_adapted(size):
    with pytest.raises(ValueError, match=rf"a stem of {size}x{size} .*--stem=random"):
        resnet_rules.adapt_stem(np.zeros((2, 3, size, size), np.float32))


def test_a_stem_that_is_left_out_is_named(convert):
    arrays = pytorch.resnet(DEPTHS, WIDTH, "torchvision")
    whole, converted = convert(arrays), convert(arrays, stem="random")
    stem = {name for name in whole.arrays if "/stem/" in name}
    assert len(stem) == 5
    assert whole.arrays.keys() - converted.arrays.keys() == stem == set(converted.missing)
    assert {"conv1.weight", "bn1.running_var"} < set(converted.unused)
    assert set(converted.missing.values()) == {"starts new, by --stem=random"}


def test_other_networks_are_refused(convert):
    arrays = pytorch.resnet(DEPTHS, WIDTH, "torchvision")
    basic = {name: x for name, x in arrays.items() if "conv3" not in name and "bn3" not in name}
    with pytest.raises(ValueError, match=r"no ResNet of bottlenecks \(50 layers or more\)"):
        convert(basic)
    with pytest.raises(ValueError, match=r"no ResNet of bottlenecks .*it has pooler"):
        convert({"pooler.weight": np.zeros(3, np.float32)})
    grouped = arrays | {"layer1.0.conv2.weight": np.zeros((4, 2, 3, 3), np.float32)}
    with pytest.raises(
        ValueError,
        match=r"no plain ResNet of depths \(2, 1\) and width 4: model/audio_cnn/blocks/0/conv/conv"
        r"/kernel \(3, 3, 2, 4\) instead of \(3, 3, 4, 4\)",
    ):
        convert(grouped)
    with pytest.raises(ValueError, match=r"there is no rule for layer1\.0\.se\.weight"):
        convert(arrays | {"layer1.0.se.weight": np.zeros(4, np.float32)})
    del arrays["layer1.1.bn2.running_mean"]
    with pytest.raises(ValueError, match=r"lacks layer1\.1\.bn2\.running_mean"):
        convert(arrays)


@pytest.mark.parametrize("field", ["downsample_in_bottleneck", "downsample_in_first_stage"])
def test_other_strides_are_refused(convert, field):
    config = {"model_type": "resnet", field: True}
    with pytest.raises(ValueError, match=rf"config\.json: {field} is set"):
        convert(pytorch.resnet(DEPTHS, WIDTH, "hugging_face"), config)
