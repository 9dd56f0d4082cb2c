"""Give a model away: `atbert push runs/genre hub:owner/name`, or into a new folder.

Uploaded are the arrays of one checkpoint, config, contract, tokenizer and a card, and no state of
the optimizer, no place on this disk and no audio. A repository that is not there is made, private
unless `--public`. `hf auth login` gives the right to, or the variable HF_TOKEN.
"""

from pathlib import Path

from absl import flags

from atbert_jax import command

STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")
REPORT = flags.DEFINE_string(
    "report", None, "Folder of an evaluation, whose figures go on the card."
)
DATA_CARD = flags.DEFINE_string(
    "data_card", None, "A text (.md) about the data, or the card.html of `atbert prepare`."
)
LICENSE = flags.DEFINE_string("license", "", "Of the model, as the hub names it: cc-by-4.0, say.")
PUBLIC = flags.DEFINE_bool("public", False, "Let everybody see a new repository.")
MESSAGE = flags.DEFINE_string("message", "A model", "Of the commit.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "List what would be uploaded, and do no more.")


def main(arguments: list[str]) -> None:
    """Gives the run that is named away."""
    if len(arguments) != 2:
        raise ValueError("give a run and where to: atbert push RUN hub:owner/name, or a new folder")
    from atbert_jax.evaluation.giving_away import give_away

    give_away(
        *arguments,
        step=STEP.value,
        report=Path(REPORT.value) if REPORT.value else None,
        data=Path(DATA_CARD.value) if DATA_CARD.value else None,
        license_id=LICENSE.value,
        public=PUBLIC.value,
        message=MESSAGE.value,
        dry_run=DRY_RUN.value,
    )


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
