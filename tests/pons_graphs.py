"""The musicnn library's networks in TensorFlow: its own graphs with its weights, and random ones.

A checkpoint that the library publishes has its graph beside it. For random weights there is none;
the graphs here are written after the library's description, and compared with its own where that
is there.
"""

import importlib.metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

v1 = tf.compat.v1

FRAMES, BANDS, TAGS, EPSILON = 187, 96, 50, 1e-3
TIMBRAL, TEMPORAL, FRONT = (38, 67), (128, 64, 32), 2 * 204 + 3 * 51
# Sizes and strides of the VGG's maxima, (time, frequency), by the data set of its tags.
POOLS = {
    "mtat": (((4, 1), (2, 2)), *[((2, 2), (2, 2))] * 3, ((4, 4), (4, 4))),
    "msd": tuple((size, size) for size in ((4, 1), (1, 4), (2, 2), (2, 2), (4, 4))),
}
# The output of each layer, in the library's graph.
SHOWN = {
    "pons_musicnn": ("concat", "transpose", "Add", "Add_1"),
    "pons_vgg": tuple(f"max_pooling2d{end}/MaxPool" for end in ("", "_1", "_2", "_3", "_4")),
}

Arrays = dict[str, np.ndarray]


def library() -> Path | None:
    """The folder of the installed library, which is not imported; None where there is none."""
    try:
        return Path(importlib.metadata.distribution("musicnn").locate_file("musicnn"))
    except importlib.metadata.PackageNotFoundError:
        return None


def run_published(
    folder: Path, name: str, patches: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """What the library's own graph of a checkpoint answers to patches (N, T, F).

    Returns:
        Probabilities (N, tags), and the outputs (N, T', ...) of each layer.
    """
    meta = meta_graph_pb2.MetaGraphDef()
    meta.ParseFromString((folder / ".meta").read_bytes())
    shown = [f"model/{each}" for each in ("Sigmoid", *SHOWN[name])]
    restore = meta.saver_def.restore_op_name
    # Without the gradients, in which an older TensorFlow has other shapes.
    graph = v1.graph_util.extract_sub_graph(meta.graph_def, [*shown, restore])
    given = {node.attr["dtype"].type: node.name for node in graph.node if node.op == "Placeholder"}
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph, name="")
        session.run(restore, {meta.saver_def.filename_tensor_name: f"{folder}/"})
        values = {tf.float32: patches, tf.bool: False}
        feed = {f"{given[kind.as_datatype_enum]}:0": value for kind, value in values.items()}
        answers, *layers = session.run([f"{each}:0" for each in shown], feed)
    return answers, layers


def make(name: str, folder: Path, channels: int = 64, features: int = 200) -> Arrays:
    """Writes a checkpoint with random weights into a new folder, and returns them."""
    rng, arrays = np.random.default_rng(0), {}

    def put(name: str, values: np.ndarray) -> None:
        arrays[name] = values.astype(np.float32)
        arrays[f"{name}/Adam"] = np.ones_like(arrays[name])

    def weights(name: str, *shape: int) -> None:
        put(f"{name}/kernel", rng.normal(size=shape) * (2 / np.prod(shape[:-1])) ** 0.5)
        put(f"{name}/bias", rng.normal(size=shape[-1]) * 0.1)

    def norm(number: int, size: int) -> None:
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        put(f"{name}/gamma", rng.normal(size=size, loc=1.0, scale=0.5))
        put(f"{name}/beta", rng.normal(size=size) * 0.2)
        put(f"{name}/moving_mean", rng.normal(size=size) * 0.2 + 0.4)
        put(f"{name}/moving_variance", rng.uniform(0.3, 2, size=size))

    norm(0, 1)
    if name == "pons_vgg":
        for number in range(5):
            weights(f"{number + 1}CNN", 3, 3, 128 if number else 1, 128)
            norm(number + 1, 128)
        weights("dense", 256, TAGS)
    else:
        kernels = [(7, height, 1, 204) for height in TIMBRAL]
        kernels += [(frames, 1, 1, 51) for frames in TEMPORAL]
        kernels += [(7, size, 1, channels) for size in (FRONT, channels, channels)]
        for number, shape in enumerate(kernels):
            weights(f"conv2d_{number}" if number else "conv2d", *shape)
            norm(number + 1, shape[-1])
        pooled = 2 * (FRONT + 3 * channels)
        norm(9, pooled)
        weights("dense", pooled, features)
        norm(10, features)
        weights("dense_1", features, TAGS)
    arrays["beta1_power"] = np.float32(0.5)
    folder.mkdir()
    tf.raw_ops.SaveV2(
        prefix=f"{folder}/",
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )
    return arrays


def run(
    name: str, arrays: Arrays, patches: np.ndarray, data: str = "mtat"
) -> tuple[np.ndarray, list[np.ndarray]]:
    """As `run_published`, of the graphs here."""
    patches = patches[..., None].astype(np.float32)
    with tf.device("CPU"):
        vggish = name == "pons_vgg"
        answers, layers = vgg(arrays, patches, data) if vggish else musicnn(arrays, patches)
    return answers.numpy(), [x.numpy() for x in layers]


def normalised(arrays: Arrays, number: int, x: tf.Tensor) -> tf.Tensor:
    name = f"batch_normalization_{number}" if number else "batch_normalization"
    names = ("moving_mean", "moving_variance", "beta", "gamma")
    return tf.nn.batch_normalization(x, *[arrays[f"{name}/{each}"] for each in names], EPSILON)


def layer(arrays: Arrays, name: str, number: int, x: tf.Tensor, padding: str) -> tf.Tensor:
    x = tf.nn.conv2d(x, arrays[f"{name}/kernel"], 1, padding) + arrays[f"{name}/bias"]
    return normalised(arrays, number, tf.nn.relu(x))


def dense(arrays: Arrays, name: str, x: tf.Tensor) -> tf.Tensor:
    return x @ arrays[f"{name}/kernel"] + arrays[f"{name}/bias"]


def musicnn(arrays: Arrays, x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    def convolve(number: int, x: tf.Tensor, padding: str = "VALID") -> tf.Tensor:
        x = tf.pad(x, [(0, 0), (3, 3), (0, 0), (0, 0)]) if padding == "VALID" else x
        name = f"conv2d_{number}" if number else "conv2d"
        return layer(arrays, name, number + 1, x, padding)

    x = normalised(arrays, 0, x)
    found = [convolve(number, x) for number in range(2)]
    found += [convolve(number, x, "SAME") for number in range(2, 5)]
    layers = [tf.concat([tf.reduce_max(each, 2) for each in found], 2)[..., None]]
    for number in range(5, 8):
        x = tf.transpose(convolve(number, layers[-1]), (0, 1, 3, 2))
        layers.append(x if number == 5 else x + layers[-1])
    every = tf.concat(layers, 2)
    x = tf.concat([tf.reduce_max(every, 1), tf.reduce_mean(every, 1)], 2)
    x = normalised(arrays, 9, tf.reshape(x, (len(x), -1)))
    x = normalised(arrays, 10, tf.nn.relu(dense(arrays, "dense", x)))
    return tf.sigmoid(dense(arrays, "dense_1", x)), layers


def vgg(arrays: Arrays, x: tf.Tensor, data: str) -> tuple[tf.Tensor, list[tf.Tensor]]:
    x, layers = normalised(arrays, 0, x), []
    for number, (size, strides) in enumerate(POOLS[data]):
        x = layer(arrays, f"{number + 1}CNN", number + 1, x, "SAME")
        x = tf.nn.max_pool2d(x, size, strides, "VALID")
        layers.append(x)
    return tf.sigmoid(dense(arrays, "dense", tf.reshape(x, (len(x), -1)))), layers
