"""Prepare a corpus: `python -m atbert_jax.prepare esc50/1 --root ESC-50-master --output esc50`.

Reads the corpus in its official layout and writes `manifest.csv`, with `labels.txt` where the order
of the labels is known, which training reads. Files that are left out are in `left_out.csv`. With
`--shards` the audio is decoded and written as shards, with a manifest of them (docs/prepare.md).
"""

import argparse
import os
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline import corpora, dataset
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.labelling import FILE as LABELS
from atbert_jax.input_pipeline.manifest.places import from_home
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.preparing import beam_pipeline
from atbert_jax.input_pipeline.preparing.storage import Storage
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible

MANIFEST_CSV, LEFT_OUT = "manifest.csv", "left_out.csv"


def write(corpus: Corpus, root: Path, folder: Path) -> bool:
    """Writes the manifest of a corpus, its labels, and what is left out.

    Args:
        corpus: To write.
        root: What its paths are relative to.
        folder: To write into; made if it does not exist.

    Returns:
        Whether audio lies outside of the folder, so that its paths are absolute.

    Raises:
        ManifestError: if the manifest would take the place of the table that was read.
    """
    base, root = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    if root == base / MANIFEST_CSV:
        raise ManifestError(f"{root}: is read and cannot be written; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    # Forward slashes, for the manifest may be read elsewhere.
    paths = [os.path.join(root, path) for path in corpus.rows["path"]]  # noqa: PTH118
    begin = f"{base}{os.sep}"
    is_outside = [not path.startswith(begin) for path in paths]
    written = [path.removeprefix(begin).replace(os.sep, "/") for path in paths]
    try:
        with whole_file.writing(base / MANIFEST_CSV) as file:
            corpus.rows.assign(path=written).to_csv(file, index=False, mode="wb")
    except UnicodeEncodeError:
        raise ManifestError(
            f"{root}: this name, or one in it, is no UTF-8 text, so no manifest can have it; rename"
            " the folder"
        ) from None
    _write_or_remove(base / LABELS, "".join(f"{label}\n" for label in corpus.labels))
    lost = [(visible(path), visible(reason)) for path, reason in corpus.left_out.items()]
    left_out = pd.DataFrame(lost, columns=["path", "reason"])
    _write_or_remove(base / LEFT_OUT, left_out.to_csv(index=False) if len(left_out) else "")
    return any(is_outside)


def _write_or_remove(file: Path, content: str) -> None:
    """Of an earlier run nothing may be left beside the new manifest."""
    if content:
        whole_file.write(file, content)
    else:
        file.unlink(missing_ok=True)


def describe(corpus: Corpus) -> list[str]:
    """Lines with the counts, and with what is left out and why."""
    sizes = ", ".join(f"{split} {size}" for split, size in corpus.sizes.items() if split)
    lines = [f"{len(corpus.rows)} records ({sizes or 'no splits'})"]
    if corpus.labels:
        lines.append(f"{len(corpus.labels)} labels, in the order of {LABELS}")
    by_reason: dict[str, list[str]] = {}
    for path, reason in corpus.left_out.items():
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        more = ", ..." if len(paths) > 5 else ""
        lines.append(f"left out: {len(paths)} ({reason}): {', '.join(paths[:5])}{more}")
    return lines + [f"warning: {deviation}" for deviation in corpus.deviations]


def train_command(corpus: Corpus, manifest: Path, settings: Mapping[str, object]) -> str:
    """The command that trains on the manifest.

    Args:
        corpus: That was written.
        manifest: That was made of it.
        settings: More fields of the config.
    """
    fields: dict[str, object] = {"data.manifest": manifest}
    if corpus.task:
        fields["data.task"] = corpus.task
    if corpus.task not in ("", "single_label"):
        fields["evaluation.best_metric"] = "loss"  # for there is no accuracy
    if corpus.targets:
        fields["data.target_columns"] = repr(corpus.targets)
    given = [f"--config.{name}={value}" for name, value in (fields | dict(settings)).items()]
    experiment = "atbert_finetune" if corpus.task else "atbert_pretrain"
    command = f"python -m atbert_jax.train --config configs/{experiment}.py --workdir"
    return f"{command} {shlex.join([f'runs/{manifest.parent.resolve().name}', *given])}"


def _download(name: str, root: Path) -> None:
    """Downloads a data set of TFDS into its folder; no other corpus can be downloaded."""
    kind, _, variant = name.partition(":")
    if kind != "tfds":
        raise ManifestError(f"corpus '{name}' is got from its authors; --download is for tfds:NAME")
    from atbert_jax.input_pipeline.corpora import tfds  # brings TensorFlow

    root.mkdir(parents=True, exist_ok=True)
    tfds.download(variant, root)


def write_shards(corpus: Corpus, given: argparse.Namespace, flags: Sequence[str]) -> Path:
    """Writes the shards that the command line asks for; returns their manifest.

    Raises:
        ImportError: if there is no Beam.
        ValueError: if a setting or the corpus is not as it should be.
        RuntimeError: if the work stopped.
    """
    beam_pipeline.require_beam()
    # TFDS is needed for shards alone, and takes a second.
    from atbert_jax.input_pipeline.preparing.shard_folder import MANIFEST, write_shard_folder
    from atbert_jax.input_pipeline.preparing.shard_plan import Sharding
    from atbert_jax.input_pipeline.preparing.shard_writer import ShardSettings
    from atbert_jax.reporting import data_card

    spectrogram = spectrogram_of(given.config, given.sample_rate)
    name = re.sub(r"[^a-z0-9]+", "_", given.output.resolve().name.lower()).strip("_")
    settings = Sharding(
        name=name if name[:1].isalpha() else f"data_{name}",
        records_per_shard=1000 if given.records_per_shard is None else given.records_per_shard,
        deduplicate=given.deduplicate,
        shards=ShardSettings(spectrogram.sample_rate, given.format or "wav", spectrogram),
    )
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder)
        write(corpus, given.root, table)
        write_shard_folder(
            table / MANIFEST_CSV,
            given.output,
            settings,
            left_out=corpus.left_out,
            card=data_card.write,
            processes=given.processes,
            flags=[f"--runner={given.runner}", *flags] if given.runner else (),
            storage=Storage.of(given.mount),
        )
    _write_or_remove(given.output / LABELS, "".join(f"{label}\n" for label in corpus.labels))
    return given.output / MANIFEST


def spectrogram_of(experiment: str | None, sample_rate: int | None) -> Spectrogram:
    """That of a config, by default of the default one, at a rate of one's own if one is given.

    Args:
        experiment: As training has it after `--config`: a file, with ':' and more if need be.
        sample_rate: In Hz.

    Raises:
        ValueError: if the file is no experiment, or a setting is out of its range.
    """
    if experiment:
        file, _, preset = experiment.partition(":")
        get_config = runpy.run_path(file).get("get_config")
        if not get_config:
            raise ValueError(f"--config={file} has no function get_config; give one of configs/")
        config = get_config(preset) if preset else get_config()
    else:
        from atbert_jax.configs import defaults  # brings all of training

        config = defaults.get_config()
    if sample_rate:
        config.spectrogram.sample_rate = sample_rate
    return dataset.make_spectrogram(config)


def _arguments(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """What the command line says, and what of it is for Beam."""
    parser = argparse.ArgumentParser(
        prog="atbert prepare",
        description="Make a manifest of a corpus in its official layout, or shards with --shards.",
        epilog="With --runner, other flags are Beam's.",
    )
    parser.add_argument("name", help=f"corpus or corpus/variant: {', '.join(corpora.CORPORA)}")
    parser.add_argument("--root", type=from_home, required=True, help="its folder (or table)")
    parser.add_argument("--output", type=from_home, required=True, help="folder to write")
    parser.add_argument(
        "--allow_outside", action="store_true", help="files that paths or links name out of --root"
    )
    parser.add_argument("--download", action="store_true", help="of tfds:NAME, what is not there")
    parser.add_argument("--shards", action="store_true", help="also decode, and write shards")
    of_shards = parser.add_argument_group("of shards")
    add = of_shards.add_argument
    options = [
        add("--sample_rate", type=int, help="in Hz; by default that of the config"),
        add("--format", choices=("wav", "flac"), help="of the sound, 16 bits; wav by default"),
        add("--records_per_shard", type=int, help="1000 by default"),
        add("--deduplicate", action="store_true", help="leave out exact copies"),
        add("--config", help="whose spectrogram is measured, as of training; default: defaults"),
        add("--processes", type=int, help="on this machine; by default one for each core"),
        add("--runner", help="Beam's, to work on a cluster: DataflowRunner, SparkRunner, ..."),
        add("--mount", help="'/folder=gs://bucket': for workers, what is mounted here is there"),
    ]
    given, flags = parser.parse_known_args(arguments)
    alone = [o.option_strings[0] for o in options if getattr(given, o.dest) not in (None, False)]
    if alone and not given.shards:
        parser.error(f"{alone[0]} is of shards; add --shards, or leave it out")
    if flags and not given.runner:
        parser.error(f"unknown: {' '.join(flags)} (with --runner, it would be Beam's)")
    return given, flags


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors end it with one line and status 1."""
    given, flags = _arguments(arguments)
    settings = {}
    try:
        if given.download:
            _download(given.name, given.root)
        corpus = corpora.read(
            given.name, given.root, given.output, allow_outside=given.allow_outside
        )
        if given.shards:
            manifest = write_shards(corpus, given, flags)
        else:
            manifest = given.output / MANIFEST_CSV
            if write(corpus, given.root, given.output):
                settings["data.allow_outside"] = True
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on")
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {visible(str(error))}")
    print(visible(f"{manifest}: {given.name}"))
    print("\n".join(map(visible, describe(corpus))))
    if given.sample_rate:
        settings["spectrogram.sample_rate"] = given.sample_rate
    print(f"train with: {train_command(corpus, manifest, settings)}")


if __name__ == "__main__":
    main()
