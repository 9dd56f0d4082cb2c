"""What a training step is for chips that are not here: compiled, not run.

PYTHONPATH=. python benchmarks/ahead_of_time.py --topology h100x8 --json \
    --config atbert_pretrain:base --batch 64 --config.model.dtype=bfloat16

Prints tables of the memory, FLOPs, bytes and collectives of the compiled step, whether it fits, and
what it takes at least; with `--json` one line. The data is made up, the sizes are flags. `--all`
compiles every model of the project, tiny, for each of `--topologies`, one line each. The compilers
come with `pip install -e '.[aot]'`.
"""

import json
import subprocess
import sys
import time

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags
from rich.console import Console

from atbert_jax import command
from atbert_jax.configs.tagger import PUBLISHED
from atbert_jax.parallel import sharding, topology
from atbert_jax.training import description
from benchmarks import contracts, sizes

CONFIG = config_flags.DEFINE_config_file("config", "configs/atbert_pretrain.py:tiny")
TOPOLOGY = flags.DEFINE_string("topology", "h100", "h100, h100x8, v5e:4x4, ...")
JSON = flags.DEFINE_bool("json", False, "One line instead of tables.")
ALL = flags.DEFINE_bool("all", False, "Every model, tiny, instead of --config.")
TOPOLOGIES = flags.DEFINE_list("topologies", ["h100", "v5e:2x2"], "What --all compiles for.")

SMALL = (
    "--batch=4",
    "--config.model.dtype=bfloat16",
    "--config.model.hidden=64",
    "--config.model.heads=2",
    "--config.model.layers=2",
    "--config.model.ffn=128",
)
MODELS = {
    "atbert": ("atbert_pretrain.py:tiny",),
    "clap": ("clap_pretrain.py:tiny",),
    "mulap": ("mulap_pretrain.py:tiny",),
    "m3bert": ("m3bert_pretrain.py",),
    "crossmodal": ("crossmodal.py:audio_text,small",),
} | {name: (f"tagger.py:{name},mtat",) for name in PUBLISHED}


def measure(config: ml_collections.ConfigDict) -> None:
    """Compiles the step and prints what it is."""
    mesh = sharding.make_mesh(config.sharding, topology.devices(TOPOLOGY.value))
    sharding.require_divisible(config.train.batch_size, mesh, "--batch", config.train.accumulate)
    contract = contracts.made_up(config)
    if not JSON.value:
        description.print_step(config, contract, mesh, TOPOLOGY.value, Console())
        return
    print(json.dumps(description.figures(config, contract, mesh, TOPOLOGY.value)))


def measure_all() -> None:
    """Compiles each model in a process of its own, as a compiler may abort.

    Raises:
        ValueError: if a model does not compile; after all others.
    """
    failures = 0
    for name, (config, *more) in MODELS.items():
        for chips in TOPOLOGIES.value:
            given = [f"--config=configs/{config}", f"--topology={chips}", *SMALL, *more, "--json"]
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, *given], capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - began
            failures += done.returncode != 0
            print(f"{name:18}{chips:10}{seconds:6.0f} s  {_said(done)}", flush=True)
    if failures:
        raise ValueError(f"{failures} of the steps above do not compile")


def _said(done: subprocess.CompletedProcess) -> str:
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        return f"FAILED ({done.returncode}): {errors[-1] if errors else ''}"
    found = json.loads(done.stdout.splitlines()[-1])
    return (
        f"{found['peak_bytes'] / 2**20:8.1f} MiB; donated {found['donated_arrays']} of"
        f" {found['state_arrays']}; {found['float32_convolutions']} convolutions in float32"
    )


def main() -> None:
    """Prints the tables or lines."""
    # A program that is found in the cache is not compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    if ALL.value:
        measure_all()
    else:
        measure(sizes.sized(CONFIG.value))


if __name__ == "__main__":
    command.run(main)
