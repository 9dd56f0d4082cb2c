"""The training step of this project and one of PyTorch, of the same sizes, in turns.

PYTHONPATH=. python benchmarks/compare.py --config atbert_pretrain:base \
    --batch 2 --segments 2 --mels 32 --frames 48 --peer atbert_torch.py

The peer is a script that trains ATBERT by correct pairs in PyTorch. It takes the sizes as flags
(batch, segments, mels, frames, text, hidden, layers, heads, width, depths, steps) and what stands
behind `--`, as `--compile`, and prints one line of JSON with `step_s` and `clips_per_s`. The two
run one after the other, each in a process of its own, round by round; a ratio is of one round, so
that it stands whatever else the machine did meanwhile.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.reporting.tables import Table, print_table
from benchmarks import sizes

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:base")
PEER = flags.DEFINE_string("peer", None, "The script of the PyTorch step.", required=True)
STEPS = flags.DEFINE_integer("steps", 10, "How many are timed, of each in a round.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the two take turns.")
JSON = flags.DEFINE_bool("json", False, "Print the measured lines and the ratios as JSON.")


def commands(config: ml_collections.ConfigDict, more: list[str]) -> dict[str, list[str]]:
    """What to run, by whose it is."""
    same_sizes = [*sizes.as_flags(sizes.sized(config)), f"--steps={STEPS.value}"]
    model = config.model
    if model.ffn != 4 * model.hidden or model.embedding != 128:
        raise ValueError("the peer's ffn is 4 * hidden and its embedding 128; so must ours be")
    widths = [f"--{name}={model[name]}" for name in ("hidden", "layers", "heads", "width")]
    depths = ["--depths", *map(str, model.depths)]
    # What the peer has: no dropout, and correct pairs alone.
    same = ["--config.model.dropout=0.0", "--config.objectives.alignment=0.0"]
    flag = flags.FLAGS["config"]
    changes = config_flags.get_override_values(flag).items()
    given = [f"--config.{name}={value}" for name, value in changes]
    ours = [
        str(Path(__file__).with_name("train_step.py")),
        f"--config={config_flags.get_config_filename(flag)}",
    ]
    return {
        "ours": [*ours, *same, *given, *same_sizes],
        "peer": [PEER.value, *same_sizes, *widths, *depths, *more],
    }


def run(command: list[str]) -> dict[str, object]:
    """The line of JSON that a script prints.

    Raises:
        ValueError: if it fails.
    """
    result = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=os.environ
    )
    if result.returncode:
        raise ValueError(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def main(arguments: list[str]) -> None:
    """Prints a row for each, and the ratio."""
    console = Console()
    found: dict[str, list[dict]] = {"ours": [], "peer": []}
    for number in range(ROUNDS.value):
        for name, given in commands(CONFIG.value, arguments).items():
            with Console(stderr=True).status(f"round {number + 1} of {ROUNDS.value}: {name}"):
                found[name].append(run(given))
    rates = {name: np.array([line["clips_per_s"] for line in found[name]]) for name in found}
    ratios = rates["ours"] / rates["peer"]
    if JSON.value:
        print(json.dumps({"ratios": ratios.tolist(), "lines": found}))
        return

    def spread(values: np.ndarray) -> str:
        return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"

    rows = [
        [name, lines[0]["engine"], f"{lines[0]['params']:,}", spread(rates[name])]
        for name, lines in found.items()
    ]
    rows.append(["ours / peer", "", "", spread(ratios)])
    note = f"Medians of {ROUNDS.value} rounds (from, to); {found['ours'][0]['device']}."
    columns = ("step", "engine", "parameters", "clips per second")
    print_table(Table("Training step", columns, rows, note), console)


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
