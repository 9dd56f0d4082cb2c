"""What is to be in an index: recordings by their places, with what manifests say of them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from atbert_jax.evaluation.named_records import in_folder, is_manifest, named
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.table_file import Table


@dataclasses.dataclass(frozen=True)
class Listing:
    """Recordings, and what else is known of them.

    Attributes:
        records: N, with absolute paths and without texts: what is indexed is the sound.
        columns: N cells of text for each column of the manifests; empty for what is in none.
        left_out: Why other files are not listed, by their paths.
    """

    records: list[Record]
    columns: dict[str, list[str]]
    left_out: dict[str, str]


def read(arguments: Sequence[str], *, allow_outside: bool = False) -> Listing:
    """Lists what files, folders and manifests name.

    Args:
        arguments: One or more of them. A file that several name is listed once, but for what
            manifests have several rows of.
        allow_outside: Accept paths of manifests that lead out of their folders.

    Raises:
        ValueError: if there is none, a folder holds no audio, or a manifest cannot be used.
    """
    if not arguments:
        raise ValueError("nothing to index; name folders, audio files or manifests")
    rows: dict[tuple, tuple[Record, dict[str, str]]] = {}
    left_out: dict[str, str] = {}
    names: dict[str, None] = {}
    places: set[Path] = set()
    # Manifests first, for they say more of the files that folders have, too.
    for argument in sorted(arguments, key=lambda each: not is_manifest(Path(each))):
        path = Path(argument)
        cells: list[dict[str, str]] = []
        if path.is_dir():
            others: dict[str, str] = {}
            records = [Record(file, path / file) for file in in_folder(path, others)]
            left_out |= {str(path / name): why for name, why in others.items()}
        else:
            records = list(named([argument], allow_outside=allow_outside))
        if is_manifest(path):
            frame = Table(path).as_text()
            names |= dict.fromkeys(map(str, frame.columns))
            cells = [
                {str(name): _text(cell) for name, cell in row.items()}
                for row in frame.to_dict("records")
            ]
        for number, record in enumerate(records):
            if record.place is not None:
                raise ValueError(
                    f"{path}: names shards, of which nothing can be played; name the manifest that"
                    " they were made of"
                )
            place = Path(os.path.abspath(record.path))  # noqa: PTH100  (links stay what they are)
            if not cells and place in places:
                continue
            places.add(place)
            whole = dataclasses.replace(record, path=place, text="")
            key = (record.id, place, record.start, record.duration)
            rows.setdefault(key, (whole, cells[number] if cells else {}))
    listed = list(rows.values())
    columns = {name: [cells.get(name, "") for _, cells in listed] for name in names}
    return Listing([record for record, _ in listed], columns, left_out)


def _text(cell: object) -> str:
    missing = cell is None or cell != cell  # NaN alone is not itself
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if missing else str(cell).strip()
