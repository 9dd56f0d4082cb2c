"""Prepare a corpus: `python -m input_pipeline.prepare esc50/1 --root ESC-50-master --output esc50`.

Reads the corpus in its official layout and writes `manifest.csv`, with `labels.txt` where the order
of the labels is known, which training reads. Files that are left out are in `left_out.csv`.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from input_pipeline import corpora
from input_pipeline.corpora.corpus import Corpus
from input_pipeline.labelling import FILE as LABELS
from input_pipeline.tables import ManifestError

MANIFEST, LEFT_OUT = "manifest.csv", "left_out.csv"


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
    if root == base / MANIFEST:
        raise ManifestError(f"{root}: is read and cannot be written; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    # Forward slashes, for the manifest may be read elsewhere.
    paths = [os.path.join(root, path) for path in corpus.rows["path"]]  # noqa: PTH118
    begin = f"{base}{os.sep}"
    is_outside = [not path.startswith(begin) for path in paths]
    written = [path.removeprefix(begin).replace(os.sep, "/") for path in paths]
    corpus.rows.assign(path=written).to_csv(base / MANIFEST, index=False)
    _write_or_remove(base / LABELS, "".join(f"{label}\n" for label in corpus.labels))
    left_out = pd.DataFrame(corpus.left_out.items(), columns=["path", "reason"])
    _write_or_remove(base / LEFT_OUT, left_out.to_csv(index=False) if len(left_out) else "")
    return any(is_outside)


def _write_or_remove(file: Path, content: str) -> None:
    """Of an earlier run nothing may be left beside the new manifest."""
    if content:
        file.write_text(content, encoding="utf-8")
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


def train_command(corpus: Corpus, folder: Path, settings: Mapping[str, object]) -> str:
    """The command that trains on the manifest.

    Args:
        corpus: That was written.
        folder: Where to.
        settings: More fields of the config.
    """
    fields: dict[str, object] = {"data.manifest": folder / MANIFEST}
    if corpus.task:
        fields["data.task"] = corpus.task
    if corpus.task not in ("", "single_label"):
        fields["evaluation.best_metric"] = "loss"  # for there is no accuracy
    if corpus.targets:
        fields["data.target_columns"] = repr(corpus.targets)
    given = [f"--config.{name}={value}" for name, value in (fields | dict(settings)).items()]
    experiment = "atbert_finetune" if corpus.task else "atbert_pretrain"
    command = f"python -m atbert_jax.train --config configs/{experiment}.py --workdir"
    return f"{command} {shlex.join([f'runs/{folder.resolve().name}', *given])}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors end it with one line and status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare",
        description="Make a manifest of a corpus in its official layout.",
    )
    parser.add_argument("name", help=f"corpus or corpus/variant: {', '.join(corpora.CORPORA)}")
    parser.add_argument("--root", type=Path, required=True, help="its folder (or table)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    try:
        corpus = corpora.read(given.name, given.root)
        is_outside = write(corpus, given.root, given.output)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{given.output / MANIFEST}: {given.name}")
    print("\n".join(describe(corpus)))
    settings = {"data.allow_outside": True} if is_outside else {}
    print(f"train with: {train_command(corpus, given.output, settings)}")


if __name__ == "__main__":
    main()
