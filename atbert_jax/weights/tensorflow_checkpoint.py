"""Checkpoints of TensorFlow's `Saver` as NumPy arrays; reading one needs TensorFlow."""

from pathlib import Path

from atbert_jax.weights.engine import Arrays

INDEX = ".index"


def read(source: Path) -> Arrays:
    """The variables of a checkpoint, by their names.

    Args:
        source: The folder of one checkpoint, or its `.index`, beside which the data lie.

    Raises:
        ValueError: if the folder holds several, or what is there is no checkpoint.
        OSError: if there is none.
    """
    index = _index(source)
    from tensorflow.compat.v1.train import NewCheckpointReader

    try:
        # A path is the reader's only argument; `folder/` is a name of a checkpoint, too.
        reader = NewCheckpointReader(str(index).removesuffix(INDEX))
        names = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name) for name in sorted(names)}
    except Exception as error:  # TensorFlow has a dozen kinds
        raise ValueError(
            f"{index}: no checkpoint of TensorFlow, damaged, or without its data"
            f" ({str(error).splitlines()[0]}); get the folder anew"
        ) from error


def _index(source: Path) -> Path:
    if source.is_file() and source.name.endswith(INDEX):
        return source
    found = sorted(source.glob(f"*{INDEX}")) if source.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"{source}: no checkpoint of TensorFlow here, which is a file {INDEX} and its data;"
            " give the folder that holds them"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise ValueError(f"{source}: holds several checkpoints ({names}); give one's {INDEX}")
    return found[0]
