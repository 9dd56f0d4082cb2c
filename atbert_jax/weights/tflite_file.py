"""TensorFlow Lite's files of models (`.tflite`) as NumPy arrays; reading one needs TensorFlow."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from atbert_jax.weights.engine import Arrays

# Where such a file says what it is.
MARK, PLACE = b"TFL3", slice(4, 8)
# What the inputs of a layer are called, by their places; the first is what it is applied to.
ROLES = {1: "weight", 2: "bias"}
LAYERS = ("conv_2d", "depthwise_conv_2d", "fully_connected")


def read(path: Path) -> Arrays:
    """The constants of a model, by the operation that takes them.

    Operations of a kind are counted in the order in which they run: `conv_2d_0.weight`,
    `conv_2d_0.bias`; what is no layer's is `reshape_2.input_1` and the like. Weights that are kept
    in 8 bits become float32 by their scales.

    Raises:
        ValueError: if the file holds no such model.
        OSError: if there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the model's .tflite")
    data = path.read_bytes()
    if data[PLACE] != MARK:
        raise ValueError(f"{path}: not a file of TensorFlow Lite; give the model's .tflite")
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    try:
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
        kinds = {code: name.lower() for name, code in vars(schema.BuiltinOperator).items()}
        types = {code: name.lower() for name, code in vars(schema.TensorType).items()}
        return _constants(model, kinds, types)
    except Exception as error:  # whatever a damaged file makes of its offsets
        raise ValueError(f"{path}: is damaged or cut short ({error}); get it anew") from error


def _constants(model: Any, kinds: dict[int, str], types: dict[int, str]) -> Arrays:
    graph, arrays, count = model.subgraphs[0], {}, Counter()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Newer files have the code in a wider field.
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for place, number in enumerate(operator.inputs):
            tensor = graph.tensors[number]
            data = model.buffers[tensor.buffer].data
            if number < 0 or data is None:
                continue  # left out, or computed
            role = ROLES.get(place) if kind in LAYERS else None
            name = f"{kind}_{count[kind]}.{role or f'input_{place}'}"
            arrays[name] = _array(tensor, bytes(data), types)
        count[kind] += 1
    return arrays


def _array(tensor: Any, data: bytes, types: dict[int, str]) -> np.ndarray:
    array = np.frombuffer(data, np.dtype(types[tensor.type])).reshape(tensor.shape)
    how = tensor.quantization
    if how is None or how.scale is None or not len(how.scale):
        return array
    along = [1] * array.ndim
    along[how.quantizedDimension] = -1
    scale = np.asarray(how.scale, np.float32).reshape(along)
    zero = np.asarray(how.zeroPoint).reshape(along)
    return ((array.astype(np.int32) - zero) * scale).astype(np.float32)
