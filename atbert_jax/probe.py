"""Fit a linear model on what frozen models hear.

atbert probe --config probe --workdir DIR --config.data.manifest=tracks.csv converted/yamnet

The arguments are folders of runs or of converted models; several are compared, each by itself, and
all together. The workdir becomes the folder of a run, for `evaluate`, `predict` and Python.
`--config probe:multi_label` is for tags, `probe:regression` for numbers; `probe:captions`, with a
converted sentence encoder as `--config.init.text`, is asked by texts.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from atbert_jax import command

CONFIG = config_flags.DEFINE_config_file("config", None, "File with get_config().")
WORKDIR = flags.DEFINE_string("workdir", None, "New folder, for the probe.")
CACHE = flags.DEFINE_string(
    "cache", "~/.cache/atbert_jax/features", "Folder where features are kept for the next probe."
)


def main(arguments: list[str]) -> None:
    """Probes what the arguments name."""
    from atbert_jax.evaluation.probing import probe
    from atbert_jax.weights import hub

    cache = Path(CACHE.value).expanduser()
    probe(CONFIG.value, [hub.folder(each) for each in arguments], Path(WORKDIR.value), cache)


if __name__ == "__main__":
    command.run(main, required=("config", "workdir"), takes_arguments=True)
