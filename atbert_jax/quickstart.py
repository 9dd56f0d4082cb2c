"""The whole way on a synthetic music set: `python -m atbert_jax.quickstart --output DIR`.

Prints the command of each stage, as you would type it for data of your own, and then runs it.
Stages that are done already are not done again.
"""

import time
from pathlib import Path

from absl import flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.input_pipeline.progress import Terminal

OUTPUT = flags.DEFINE_string("output", None, "Folder for the music, the runs and the reports.")

# Enough that pairs of unheard clips are told apart, and a minute's work to synthesize.
CLIPS = 3200


def main() -> None:
    """Synthesizes, pre-trains, fine-tunes, evaluates, and ends with a table."""
    quickstart(Path(OUTPUT.value), Terminal())


def quickstart(output: Path, console: Console) -> None:
    """Goes the whole way.

    Args:
        output: Folder for everything.
        console: Where to talk.
    """
    from atbert_jax.configs import quickstart_finetune, quickstart_pretrain
    from atbert_jax.evaluation.evaluate_run import evaluate
    from atbert_jax.input_pipeline.synthetic_music import generate
    from atbert_jax.training.twin import train_with_twin

    began = time.monotonic()
    manifest = output / "music" / "manifest.csv"
    pretrained, genre = output / "pretrain", output / "genre"

    def stage(title: str, line: str) -> None:
        console.rule(title)
        console.print(f"$ atbert {line}", highlight=False, soft_wrap=True, style="bold")

    stage("1. Music", f"synthesize --output {manifest.parent} --clips {CLIPS}")
    generate.main(["--output", str(manifest.parent), "--clips", str(CLIPS)])

    stage(
        "2. Pre-train on clips and captions, without labels",
        f"train --config quickstart_pretrain --workdir {pretrained}"
        f" --config.data.manifest={manifest}",
    )
    config = quickstart_pretrain.get_config()
    config.data.manifest = str(manifest)
    train_with_twin(config, pretrained, console)

    stage(
        "3. Fine-tune on genres, and the same network from scratch",
        f"train --config quickstart_finetune --workdir {genre}"
        f" --config.data.manifest={manifest} --config.init_from={pretrained}",
    )
    config = quickstart_finetune.get_config()
    config.data.manifest = str(manifest)
    config.init_from = str(pretrained)
    train_with_twin(config, genre, console)

    reports = output / "reports"
    stage(
        "4. Evaluate both on the test split",
        f"evaluate --checkpoint {genre} --split test --output {reports / 'genre'}",
    )
    pairs = evaluate(pretrained, "test", reports / "pretrain", console=console)
    genres = evaluate(genre, "test", reports / "genre", console=console)

    stage(
        "5. Use it",
        f"predict --checkpoint {genre} {manifest.parent / 'audio' / '00000.flac'}",
    )
    console.rule("Result")
    summarize(pairs, genres, console)
    console.print(
        f"{(time.monotonic() - began) / 60:.1f} minutes; report:"
        f" {reports / 'genre' / 'report.html'}",
        highlight=False,
        soft_wrap=True,
    )


def summarize(pairs: dict, genres: dict, console: Console) -> None:
    """Prints the table that the quickstart ends with.

    Args:
        pairs: Metrics of the pre-trained model.
        genres: Metrics of the fine-tuned model, its twin and the baseline.
        console: Where to print.
    """
    from atbert_jax.reporting.tables import Table, print_table

    rows = [["correct pairs, held-out clips", pairs["correct_pair"]["accuracy"]]]
    rows += [[f"genre, {name}", entry["accuracy"]] for name, entry in genres["systems"].items()]
    print_table(Table("Quickstart", ["what", "accuracy"], rows, "Test split."), console)


if __name__ == "__main__":
    command.run(main, required=("output",), resumes=True)
