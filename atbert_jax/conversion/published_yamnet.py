"""YAMNet as TensorFlow Lite's file has it, as the folder of a run."""

import csv
from pathlib import Path

import ml_collections
import numpy as np

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.conversion.published_tagger import require_sizes
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.labelling import read_names
from atbert_jax.models.taggers.yamnet import HANN
from atbert_jax.weights import engine, yamnet_rules
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import Source

# As it is published beside the file.
CLASS_MAP = "yamnet_class_map.csv"
COLUMN = "display_name"


def published_config(source: Path, labels: Path | None) -> ml_collections.ConfigDict:
    """The config of the network as it was published.

    Args:
        source: The `.tflite` file.
        labels: Of its sounds; None is the class map beside the source.

    Raises:
        ValueError: if the labels are not such a table or list.
        OSError: if there are none.
    """
    config = tagger_config.get_config("yamnet")
    config.data.labels = read_class_map(labels or source.parent / CLASS_MAP)
    config.init.audio = str(source)  # so that reports say where it comes from
    return config


def read_class_map(file: Path) -> tuple[str, ...]:
    """The names of the sounds in order, of a CSV with a column `display_name` or a list of lines.

    Raises:
        ValueError: if it is none of both, or names a label twice.
        OSError: if there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; give the names of the sounds with --labels=FILE"
        )
    if file.suffix != ".csv":
        return read_names(file)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream)
        if COLUMN not in (table.fieldnames or ()):
            raise ValueError(f"{file}: has no column '{COLUMN}'; give YAMNet's class map")
        names = tuple(row[COLUMN] or "" for row in table)
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{file}: names a sound twice or not at all; give YAMNet's class map")
    return names


def from_tflite(
    source: Source, config: ml_collections.ConfigDict, contract: Contract
) -> Conversion:
    """The arrays by our names, that of the output included.

    Args:
        source: Of `tflite_file.read`.
        config: See `published_config`.
        contract: With the labels.

    Raises:
        ValueError: if it is another network, hears otherwise, or tells another number of sounds.
    """
    where = str(source.path)
    # A kernel of one place is a matrix.
    theirs = {
        name: array[:, 0, 0] if array.ndim == 4 and array.shape[1:3] == (1, 1) else array
        for name, array in source.arrays.items()
    }
    arrays, taken, unused = engine.to_ours(where, yamnet_rules.rules(), theirs, yamnet_rules.UNUSED)
    found = np.ravel(theirs[yamnet_rules.WINDOW])
    floor = np.ravel(theirs[yamnet_rules.FLOOR])
    if found.shape != HANN.shape or np.abs(found - HANN).max() > 1e-5:
        raise ValueError(
            f"{where} hears with another window than YAMNet, which has {len(HANN)} samples"
        )
    if np.abs(floor - contract.spectrogram.log_floor).max() > 1e-6:
        raise ValueError(f"{where} adds {floor.max():g} before the logarithm, YAMNet 0.001")
    count = len(arrays[f"{yamnet_rules.OUTPUT}/bias"])
    if count != len(contract.labels.names):
        raise ValueError(
            f"{where} tells {count} sounds, but {len(contract.labels.names)} are named; give the"
            " class map that belongs to it with --labels=FILE"
        )
    remedy = "get the file of TensorFlow Lite that takes a waveform"
    require_sizes(where, arrays, config, contract, "no YAMNet", remedy)
    return Conversion(arrays, {}, taken, unused, {})
