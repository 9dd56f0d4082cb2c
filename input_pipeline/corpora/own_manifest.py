"""Any table that the pipeline reads as a manifest: CSV, TSV, JSON, JSON Lines, Parquet, a folder.

All its columns stay as they are; what the labels are is seen by their column and its cells.
"""

from pathlib import Path

from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest import columns
from atbert_jax.input_pipeline.manifest.table_file import Table

VARIANTS = ("",)


def read(root: Path, variant: str, *, allow_outside: bool = False) -> Corpus:
    """Reads the table; audio files that are not there are left out.

    Args:
        root: The table.
        variant: None.
        allow_outside: Accept paths that lead out of the table's folder.

    Raises:
        ManifestError: if the table, its paths or its labels are not as they should be.
    """
    table = Table(root)
    table.rename("file_path", "path")
    paths = columns.audio_paths(table, table.strings("path"), table.root, allow_outside)
    labels = columns.labels(table, "")
    sizes = set(map(len, labels)) - {0}
    task = ("multi_label" if max(sizes) > 1 else "single_label") if sizes else ""
    rows = table.as_text().assign(path=list(map(str, paths)))
    if sizes:  # as they are read: composed, whole numbers without a point
        column = "labels" if table.has("labels") else "label"
        rows[column] = ["|".join(own) for own in labels]
    return Corpus.of_files(table.root, rows, task=task)
