"""Data sets of TensorFlow Datasets that are prepared in a folder, as in `tfds:nsynth/full`.

Their sound becomes files below the output. The variant is the name, with the config and version if
any, and behind a comma which column is what where that is not plain, as in
`tfds:nsynth,label=instrument/family` (see `embedded.Roles`). The root is the `data_dir`, or the
folder of the one data set. Nothing is downloaded unless `download` is called.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.dataset_builder import DatasetBuilder

from atbert_jax.input_pipeline.corpora import embedded
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ()
features = tensorflow_datasets.features


def download(variant: str, root: Path) -> None:
    """Downloads and prepares a data set, if it is not there yet.

    Args:
        variant: Its name (see above).
        root: The `data_dir`.
    """
    name = variant.partition(",")[0]
    tensorflow_datasets.builder(name, data_dir=root).download_and_prepare()


def unpack(root: Path, variant: str, output: Path) -> Corpus:
    """Reads all splits and writes their sound into `output/audio`.

    Raises:
        ManifestError: if there is no such data set in the folder, or it has no audio, or its rate
            is unknown.
    """
    name, _, words = variant.partition(",")
    info = (builder := _builder(name, root)).info
    found = dict(_flat(info.features))
    sounds = [name for name, feature in found.items() if isinstance(feature, features.Audio)]
    columns = {
        name: column for name, feature in found.items() if (column := _column(feature)) is not None
    }
    roles = embedded.Roles.choose(words, columns, sounds, where=f"tfds:{name}")
    rate = roles.rate or found[roles.audio].sample_rate or (info.metadata or {}).get("sample_rate")
    if not rate:
        raise ManifestError(
            f"tfds:{name} does not tell its sample rate; say it, as in tfds:{name},rate=48000"
        )
    sizes = {split: part.num_examples for split, part in info.splits.items()}
    examples = _examples(builder, roles.audio, columns, int(rate))
    return embedded.unpack(examples, sizes, columns, roles, output)


def _builder(name: str, root: Path) -> DatasetBuilder:
    """What reads a data set, without the code that prepared it."""
    if (root / "features.json").exists():
        return read_only_builder.builder_from_directory(root)
    try:
        return read_only_builder.builder_from_files(name, data_dir=root)
    except tensorflow_datasets.core.DatasetNotFoundError:
        raise ManifestError(
            f"{root}: has no data set {name!r} of TFDS; prepare it there with --download, or give"
            " the data_dir that has it with --root"
        ) from None


def _flat(cells: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Features, or the cells of an example, by names with a slash where they are nested."""
    for name, cell in cells.items():
        if isinstance(cell, dict | features.FeaturesDict):
            yield from _flat(cell, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", cell


def _wanted(nested: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """Which features are decoded, as TFDS wants it: others can be videos, or need more packages."""
    found = {
        name: _wanted(feature, names, f"{prefix}{name}/")
        if isinstance(feature, features.FeaturesDict)
        else f"{prefix}{name}" in names
        for name, feature in nested.items()
    }
    return {name: wanted for name, wanted in found.items() if wanted}


def _column(feature: features.FeatureConnector) -> embedded.Column | None:
    """What a feature is as a column; None if a manifest cannot have it."""
    several = isinstance(feature, features.Sequence)
    if several:
        feature = feature.feature
    if isinstance(feature, features.ClassLabel):
        return embedded.Column(tuple(map(feature.int2str, range(feature.num_classes))), several)
    if isinstance(feature, features.Audio | features.Image | features.Video):
        return None
    if not isinstance(feature, features.Tensor) or feature.shape != ():
        return None
    return embedded.Column((), several, np.dtype(feature.np_dtype).kind in "OSU")


def _examples(
    builder: DatasetBuilder, audio: str, columns: Iterable[str], rate: int
) -> Iterator[tuple[str, embedded.Sound, Mapping[str, Any]]]:
    feature = dict(_flat(builder.info.features))[audio]
    # Sound that is stored as it was is taken so: decoding it needs more packages.
    is_stored = feature.get_serialized_info().shape == ()
    decoders = tensorflow_datasets.decode.PartialDecoding(
        _wanted(builder.info.features, {audio, *columns}),
        {audio: tensorflow_datasets.decode.SkipDecoding()} if is_stored else None,
    )
    for split in builder.info.splits:
        examples = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders)
        for example in tensorflow_datasets.as_numpy(examples):
            cells = dict(_flat(example))
            sound = cells.pop(audio)
            yield split, sound if is_stored else embedded.Wave(sound, rate), cells
