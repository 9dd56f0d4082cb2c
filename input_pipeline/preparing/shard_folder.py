"""What makes a folder of shards a manifest and a TFDS data set, written when all shards are."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import tensorflow_datasets as tfds
from rich.console import Console

from atbert_jax.input_pipeline.manifest.records import Record, read_manifest
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table
from atbert_jax.input_pipeline.preparing import band_statistics, shard_plan
from atbert_jax.input_pipeline.preparing.band_statistics import BandSums
from atbert_jax.input_pipeline.preparing.shard_plan import Plan, Sharding
from atbert_jax.input_pipeline.preparing.shard_writer import Summary, features
from atbert_jax.input_pipeline.preparing.storage import Storage
from atbert_jax.input_pipeline.progress import Terminal

MANIFEST = "manifest.parquet"
LEFT_OUT = "left_out.csv"
# Writes a page about the shards (see `data_card.write`), and says where.
Card = Callable[..., Path]


def write_shard_folder(
    table: Path,
    folder: Path,
    settings: Sharding,
    *,
    left_out: Mapping[str, str] | None = None,
    card: Card | None = None,
    processes: int | None = None,
    flags: Sequence[str] = (),
    storage: Storage = shard_plan.HERE,
    console: Console | None = None,
) -> None:
    """Writes the records of a manifest as shards, or goes on with that.

    Args:
        table: The manifest; its labels are in `labels` or `label`.
        folder: Where to: gets the shards with their summaries, `manifest.parquet`,
            `statistics.json`, `left_out.csv` and what TFDS wants.
        settings: How the records are divided, and their sound.
        left_out: Why, by path of what the corpus names and the manifest does not.
        card: Writes a page about them into the folder.
        processes: How many, on this machine; by default one for each core.
        flags: For Beam, with `--runner` among them, to work on others.
        storage: Where those find the files.
        console: Where to talk.

    Raises:
        ManifestError: if the manifest is not as it should be, something else stands in the folder,
            or no record is readable.
        RuntimeError: if the work stopped; the same call goes on.
    """
    console = console or Terminal()
    records = read_manifest(table, allow_outside=True)
    plans = shard_plan.make_plan(records, settings)
    plan = {name: rows for part in plans.values() for name, rows in part.items()}
    summaries = shard_plan.write(
        folder,
        records,
        plan,
        settings,
        processes=processes,
        flags=flags,
        storage=storage,
        console=console,
    )
    lost = _lost(summaries, records)
    for reason in lost.values():
        console.print(f"left out: {reason}", markup=False, highlight=False, soft_wrap=True)
    for row, remark in sorted(
        pair for summary in summaries.values() for pair in summary.odd.items()
    ):
        line = f"odd: {records[row].id}: {remark}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(lost) == len(records):
        raise ManifestError(f"{table}: none of its {len(records)} records could be read")
    _write_manifest(folder, Table(table), records, summaries, settings.shards.sample_rate)
    left_out = dict(left_out or {}) | lost
    rows = pd.DataFrame(left_out.items(), columns=["path", "reason"])
    rows.to_csv(folder / LEFT_OUT, index=False)
    _write_metadata(folder, plans, summaries, settings)
    _write_statistics(folder, plans, summaries, records, settings)
    see = card(folder, settings, plans, summaries, records, left_out) if card else folder
    shard_plan.end(folder)
    kept = len(records) - len(lost)
    console.print(
        f"{kept} of {len(records)} records in {len(plan)} shards, see {see}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _lost(summaries: Mapping[str, Summary], records: Sequence[Record]) -> dict[str, str]:
    """Why a record is not in the shards, by its id, in the order of the records."""
    reasons = {row: reason for summary in summaries.values() for row, reason in summary.bad.items()}
    left_out = [row for summary in summaries.values() for row in summary.copies]
    copies = shard_plan.find_copies(summaries.values(), records) if left_out else {}
    for row in left_out:
        reasons[row] = f"{records[row].id}: sounds exactly as {records[copies[row]].id}"
    return {records[row].id: reasons[row] for row in sorted(reasons)}


def _write_manifest(
    folder: Path,
    table: Table,
    records: Sequence[Record],
    summaries: Mapping[str, Summary],
    rate: int,
) -> None:
    places = sorted(
        (row, name, place, samples / rate)
        for name, summary in summaries.items()
        for place, (row, samples) in enumerate(summary.kept)
    )
    rows, shards, numbers, seconds = map(list, zip(*places, strict=True))
    frame = table.as_text().iloc[rows]
    changed = {
        "id": [records[row].id for row in rows],
        "original_path": frame["path"],
        "path": shards,
        "place": numbers,
        "duration": seconds,
    }
    frame = frame.drop(columns=["start", "end"], errors="ignore").assign(**changed)
    frame.to_parquet(folder / MANIFEST, index=False)


def _write_metadata(
    folder: Path,
    plans: Mapping[str, Plan],
    summaries: Mapping[str, Summary],
    settings: Sharding,
) -> None:
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(summaries[name].kept) for name in plan],
            num_bytes=sum(summaries[name].size for name in plan),
        )
        for split, plan in plans.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features(settings.shards),
        split_infos=splits,
        check_data=False,
        description="Each example has a whole audio file, and what is said about it.",
    )


def _write_statistics(
    folder: Path,
    plans: Mapping[str, Plan],
    summaries: Mapping[str, Summary],
    records: Sequence[Record],
    settings: Sharding,
) -> None:
    train = [summaries[name] for name in plans.get("train", ())]
    sums = BandSums.sum(summary.sums for summary in train)
    if sums.frames:
        ids = [records[row].id for summary in train for row, _ in summary.kept]
        band_statistics.save(folder, sums, settings.shards.spectrogram, ids)
