"""All taggers on one small data set, side by side: accuracy, parameters, speed.

python benchmarks/taggers.py --manifest notes.csv --workdir runs/taggers

Each network is trained by `configs/tagger_notes.py`, evaluated on the validation split as
`atbert evaluate` does, and timed. The same command again goes on where it was stopped, and
times anew what is trained. `taggers.json` and `taggers.md` get the table.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.configs import tagger_notes
from atbert_jax.evaluation.compared_systems import BASELINE
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.models.taggers import NETWORKS
from atbert_jax.reporting.tables import Table, markdown, print_table
from atbert_jax.training import trained
from atbert_jax.training.loop import train
from atbert_jax.training.trained import Trained

MANIFEST = flags.DEFINE_string("manifest", None, "Table of clips with labels.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the runs.")
NETWORK = flags.DEFINE_list("network", list(NETWORKS), "Which ones.")
SPLIT = flags.DEFINE_enum("split", "val", ["val", "test"], "What to evaluate on.")

# Evenly spaced ones overlap; of windows, the last one is mostly silence in a short clip.
CHUNKS = 4
AT_ONCE, ROUNDS = 8, 5
COLUMNS = ("network", "accuracy", "macro F1", "parameters", "seconds heard", "chunks per second")


def main() -> None:
    """Trains, evaluates and times the networks."""
    console, workdir = Console(), Path(WORKDIR.value)
    results = {}
    for name in NETWORK.value:
        console.rule(name)
        results[name] = _measure(name, workdir / name, console)
        _write(results, workdir, console)


def _measure(name: str, folder: Path, console: Console) -> dict[str, Any]:
    config = tagger_notes.get_config(name)
    config.data.manifest = MANIFEST.value
    train(config, folder, console)
    report = folder / "report"
    measured = evaluate(folder, SPLIT.value, report, chunks=CHUNKS, console=console)
    systems = measured["systems"]
    model = trained.load(folder)
    own = next(entry for system, entry in systems.items() if system != BASELINE)
    return {
        "accuracy": own["accuracy"],
        "macro_f1": own["macro_f1"],
        "baseline": systems[BASELINE]["accuracy"],
        "baseline_macro_f1": systems[BASELINE]["macro_f1"],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "seconds": model.contract.segmenting.seconds,
        "chunks_per_second": _speed(model),
    }


def _speed(model: Trained) -> float:
    """Chunks per second of the answering itself, with the audio in memory: the median round."""
    contract = model.contract
    samples = contract.segmenting.samples(contract.spectrogram.sample_rate)
    noise = np.random.default_rng(0).normal(0, 0.1, (AT_ONCE, 1, samples))
    batch = {
        "waveform": noise.astype(np.float32),
        "samples": np.full((AT_ONCE, 1), samples, np.int32),
        "segment_mask": np.ones((AT_ONCE, 1), np.float32),
        "token_ids": np.zeros((AT_ONCE, contract.max_tokens), np.int32),
        "token_mask": np.zeros((AT_ONCE, contract.max_tokens), np.float32),
        "labels": np.zeros((AT_ONCE, len(contract.labels.names)), np.float32),
        "label_mask": np.ones(AT_ONCE, np.float32),
        "record": np.arange(AT_ONCE, dtype=np.int32),
        "valid": np.ones(AT_ONCE, np.float32),
    }
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        jax.block_until_ready(model.evaluate(batch))
        seconds.append(time.perf_counter() - start)
    return AT_ONCE / float(np.median(seconds[1:]))


def _write(results: dict[str, dict[str, Any]], workdir: Path, console: Console) -> None:
    """The table so far, as JSON, as Markdown and for people."""
    fields = ("accuracy", "macro_f1", "parameters", "seconds", "chunks_per_second")
    rows = [[name, *(values[field] for field in fields)] for name, values in results.items()]
    last = next(reversed(results.values()))
    rows.append([BASELINE, last["baseline"], last["baseline_macro_f1"], None, None, None])
    (workdir / "taggers.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = Table("Taggers", COLUMNS, rows)
    (workdir / "taggers.md").write_text(markdown(table), encoding="utf-8")
    print_table(table, console)


if __name__ == "__main__":
    command.run(main, required=("manifest", "workdir"))
