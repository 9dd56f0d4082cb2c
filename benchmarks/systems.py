"""MuLaP, M3BERT and the cross-modal transformer on small data sets, beside the MFCC baseline.

python benchmarks/systems.py --notes notes.csv --speech speech.csv --workdir runs/systems

Each system is pre-trained where it can be, fine-tuned and evaluated on the validation split, as the
commands of its page do. The same command again goes on where it was stopped. `systems.json` and
`systems.md` get the table. `--effort=0.3` takes that share of the steps.
"""

import json
from collections.abc import Callable
from pathlib import Path

import ml_collections
from absl import flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.configs import (
    crossmodal,
    m3bert_finetune,
    m3bert_pretrain,
    mulap_downstream,
    mulap_pretrain,
)
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.input_pipeline.preparing.feature_files import MANIFEST, write_all_features
from atbert_jax.reporting.tables import Table, markdown, print_table
from atbert_jax.training.twin import train_with_twin

NOTES = flags.DEFINE_string("notes", None, "Table of notes or music with captions and labels.")
SPEECH = flags.DEFINE_string("speech", None, "Table of spoken sentences with emotions.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the runs.")
ONLY = flags.DEFINE_list("only", ["mulap", "m3bert", "crossmodal"], "Which systems.")
EFFORT = flags.DEFINE_float("effort", 1.0, "Share of the steps to train.", 0.0, 1.0)

COLUMNS = ("run", "system", "accuracy", "macro F1")
SECONDS_OF_NOTES, SECONDS_OF_SPEECH = 2.5, 4.0

Run = Callable[[ml_collections.ConfigDict, str], Path]


def main() -> None:
    """Trains and evaluates the systems."""
    console, workdir = Console(), Path(WORKDIR.value)
    rows = []

    def learn(config: ml_collections.ConfigDict, name: str) -> Path:
        console.rule(name)
        for count in ("steps", "evaluate_every"):
            config.train[count] = max(round(EFFORT.value * config.train[count]), 1)
        train_with_twin(config, workdir / name, console)
        return workdir / name

    def measure(config: ml_collections.ConfigDict, name: str) -> Path:
        folder = learn(config, name)
        measured = evaluate(folder, "val", folder / "report", console=console)
        for system, entry in measured["systems"].items():
            rows.append([name, system, entry["accuracy"], entry["macro_f1"]])
        _write(rows, workdir, console)
        return folder

    steps = {"mulap": _mulap, "m3bert": _m3bert, "crossmodal": _crossmodal}
    for system, data in (("mulap", NOTES), ("m3bert", NOTES), ("crossmodal", SPEECH)):
        if system in ONLY.value and not data.value:
            raise ValueError(f"--only={system} needs --{data.name}")
    for system in ONLY.value:
        steps[system](learn, measure)


def _mulap(learn: Run, measure: Run) -> None:
    """Pre-trained on the captions; then what it hears with tells the instrument, then all of it."""
    config = mulap_pretrain.get_config("tiny")
    config.data.manifest = NOTES.value
    config.segmenting.segments = 1  # three seconds, which most notes do not last
    config.text.update({"vocabulary": 200, "max_tokens": 24})
    config.train.update({"steps": 300, "batch_size": 8, "evaluate_every": 100})
    config.optimizer.update({"learning_rate": 1e-3, "warmup_steps": 30})
    whole = config.copy_and_resolve_references()
    pretrained = learn(config, "mulap_pretrain")
    for given in ("pretrained", "pretrained,finetune", "random,finetune"):
        config = mulap_downstream.get_config(f"nsynth,{given}")
        config.data.manifest = NOTES.value
        config.init.audio = str(pretrained) if given.startswith("pretrained") else ""
        config.train.update({"steps": 300, "batch_size": 8, "evaluate_every": 100})
        measure(config, f"mulap_{given.replace(',', '_')}")
    whole.objectives = ml_collections.ConfigDict({"classification": 1.0})
    whole.data.task = "single_label"
    whole.init_from = str(pretrained)
    whole.scratch_twin = False
    whole.evaluation.best_metric = "classification/audio/accuracy"
    measure(whole, "mulap_views")


def _m3bert(learn: Run, measure: Run) -> None:
    """Pre-trained on the features of the notes; fine-tuned with all its parameters, or frozen."""
    features = Path(WORKDIR.value) / "features"
    write_all_features(Path(NOTES.value), features)
    config = m3bert_pretrain.get_config("tiny")
    config.data.manifest = str(features / MANIFEST)
    config.segmenting.seconds = SECONDS_OF_NOTES
    config.train.update({"steps": 1000, "evaluate_every": 200})
    pretrained = learn(config, "m3bert_pretrain")
    for words in ("", ",frozen"):
        config = m3bert_finetune.get_config(f"tiny{words}")
        config.data.manifest = str(features / MANIFEST)
        config.segmenting.seconds = SECONDS_OF_NOTES
        config.init_from = str(pretrained)
        config.train.update({"steps": 600, "batch_size": 16, "evaluate_every": 100})
        config.optimizer.learning_rate = 4e-3 if words else 1e-3
        config.optimizer.warmup_steps = 60
        measure(config, f"m3bert_finetune{words.replace(',', '_')}")


def _crossmodal(learn: Run, measure: Run) -> None:
    """Each half, and both; the speakers of the validation split were never heard."""
    for view in crossmodal.MODALITIES:
        config = crossmodal.get_config(f"{view},small")
        config.data.manifest = SPEECH.value
        config.segmenting.seconds = SECONDS_OF_SPEECH
        measure(config, f"crossmodal_{view}")


def _write(rows: list[list], workdir: Path, console: Console) -> None:
    """The table so far, as JSON, as Markdown and for people."""
    table = Table("Systems", COLUMNS, rows)
    (workdir / "systems.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (workdir / "systems.md").write_text(markdown(table), encoding="utf-8")
    print_table(table, console)


if __name__ == "__main__":
    command.run(main, required=("workdir",))
