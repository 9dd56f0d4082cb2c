"""Put reports of several runs side by side: `atbert compare --output both reports/a reports/b`.

The arguments are folders of `atbert evaluate`, or runs with one in their folder `report`. The page
has a table, and a picture of quality and size.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

OUTPUT = flags.DEFINE_string("output", None, "Folder for the page and its numbers.")
METRICS = flags.DEFINE_list(
    "metrics", [], "Names as classification/audio/macro_f1; by default the main ones."
)


def main(arguments: list[str]) -> None:
    """Compares what the arguments name."""
    from atbert_jax.evaluation.compared_reports import compare

    compare([Path(each) for each in arguments], Path(OUTPUT.value), METRICS.value)


if __name__ == "__main__":
    command.run(main, required=("output",), takes_arguments=True)
