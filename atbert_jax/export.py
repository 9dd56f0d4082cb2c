"""A model for other programs: `atbert export runs/genre exported/`.

`model.stablehlo` in the new folder answers with JAX alone, on CPUs, GPUs and TPUs: front end,
network and arrays are inside. `model.json` says what it takes and gives. `weights.safetensors` has
the arrays by name, for programs of another kind.
"""

from pathlib import Path

from absl import flags

from atbert_jax import choices, command

PLATFORMS = flags.DEFINE_list("platforms", "cpu,cuda,tpu", "What the program is for.")
STEP = flags.DEFINE_integer("step", None, "Which checkpoint; by default the best one.")


def main(arguments: list[str]) -> None:
    """Exports the run that is named into the folder that is named."""
    if len(arguments) != 2:
        raise ValueError("give a run and a new folder: atbert export RUN FOLDER")
    from atbert_jax.evaluation import stablehlo
    from atbert_jax.input_pipeline.progress import Terminal
    from atbert_jax.training import trained
    from atbert_jax.weights import hub

    for platform in PLATFORMS.value:
        choices.require("--platforms", platform, stablehlo.PLATFORMS)
    run, folder = hub.folder(arguments[0]), Path(arguments[1])
    stablehlo.files.require_new(folder)
    model = trained.load(run, STEP.value)
    about = stablehlo.write(model, folder, PLATFORMS.value)
    Terminal().print(
        f"{folder}: takes {', '.join(about['inputs'])}; gives {', '.join(about['outputs'])}"
    )


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
