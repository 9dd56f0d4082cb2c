"""YAMNet in TensorFlow with random weights, as a file of TensorFlow Lite, and what that computes.

TensorFlow Lite rounds activations to 8 bits before weights of 8 bits, which costs up to 0.3 of a
probability; so files are run with the same weights as float32.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

Resolver = tf.lite.experimental.OpResolverType

SAMPLES, WINDOW, HOP, FFT, BANDS, SOUNDS = 15_600, 400, 160, 512, 64, 521
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CHANNELS = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)


def make(sounds: int = SOUNDS, floor: float = 0.001) -> bytes:
    """A file with weights in 8 bits."""
    rng = np.random.default_rng(0)
    mel = tf.signal.linear_to_mel_weight_matrix(BANDS, FFT // 2 + 1, 16_000, 125, 7500)

    def weights(*shape: int) -> tf.Tensor:
        scale = (2 / np.prod(shape[:-1])) ** 0.5
        return tf.constant((scale * rng.normal(size=shape)).astype(np.float32))

    def bias(size: int) -> tf.Tensor:
        return tf.constant(0.1 * rng.normal(size=size).astype(np.float32))

    first = weights(3, 3, 1, CHANNELS[0]), bias(CHANNELS[0])
    layers = [
        (
            stride,
            tf.reshape(weights(3, 3, channels), (3, 3, channels, 1)),
            bias(channels),
            weights(1, 1, channels, wider),
            bias(wider),
        )
        for stride, channels, wider in zip(STRIDES, CHANNELS[:-1], CHANNELS[1:], strict=True)
    ]
    output = weights(CHANNELS[-1], sounds), bias(sounds)

    @tf.function(input_signature=[tf.TensorSpec([SAMPLES], tf.float32)])
    def run(waveform: tf.Tensor) -> tf.Tensor:
        frames = tf.signal.frame(waveform, WINDOW, HOP) * tf.signal.hann_window(WINDOW)
        magnitudes = tf.abs(tf.signal.rfft(frames, [FFT]))
        x = tf.reshape(tf.math.log(magnitudes @ mel + floor), (1, -1, BANDS, 1))
        x = tf.nn.relu(tf.nn.conv2d(x, first[0], 2, "SAME") + first[1])
        for stride, depthwise, before, pointwise, behind in layers:
            strides = (1, stride, stride, 1)
            x = tf.nn.relu(tf.nn.depthwise_conv2d(x, depthwise, strides, "SAME") + before)
            x = tf.nn.relu(tf.nn.conv2d(x, pointwise, 1, "SAME") + behind)
        return tf.sigmoid(tf.reduce_mean(x, (1, 2)) @ output[0] + output[1])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def in_float(path: Path) -> bytes:
    """The same file with float32 in the place of 8 bits."""
    model = flatbuffer_utils.read_model(str(path))
    found = 0
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            scale = np.asarray(tensor.quantization.scale, np.float32)
            along = [1] * len(tensor.shape)
            along[tensor.quantization.quantizedDimension] = -1
            data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)
            values = data.reshape(tensor.shape).astype(np.float32) * scale.reshape(along)
            model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            found += 1
    assert found > 10, f"{path}: too few weights of 8 bits"
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def run(content: bytes, waveforms: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What a file answers to waveforms (N, samples).

    Returns:
        Probabilities (N, sounds); log-mels (N, T, F) and the outputs (N, T', F', C) of every layer.
    """
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        # What the delegates compute within is not kept.
        experimental_op_resolver_type=Resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    ops = interpreter._get_ops_details()
    shown = [op["outputs"][0] for op in ops if op["op_name"] in ("LOG", "CONV_2D")]
    answers, inner = [], []
    for waveform in waveforms:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
        inner.append([interpreter.get_tensor(number) for number in shown])
    return np.stack(answers), [
        np.concatenate([x.reshape(1, *x.shape[-3:]) if x.ndim > 2 else x[None] for x in each])
        for each in zip(*inner, strict=True)
    ]
