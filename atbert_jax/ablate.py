r"""Compare variants of a config, each trained with several seeds, in one table.

python -m atbert_jax.ablate --config configs/ablation.py --workdir runs/ablation \
    --config.data.manifest=tracks.csv --grid model.layers=1,2,4 --grid objectives.alignment=0,1

Every axis is varied alone, the others as in the config, or all together with `--product`. The same
command again goes on with the runs that are not done; exit code 1 says that some failed, 75 that it
was stopped. Fields of a fine-tuning, from `--finetune_config`, are named `finetune.<field>`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from atbert_jax import command

if TYPE_CHECKING:
    import ml_collections

CONFIG = config_flags.DEFINE_config_file("config", None, "The base: file with get_config().")
FINETUNE = config_flags.DEFINE_config_file(
    "finetune_config", None, "Fine-tune every run by this config, and evaluate that too."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the runs and what came of them.")
GRID = flags.DEFINE_multi_string("grid", [], "An axis, field=value,value; give one flag for each.")
OVER = flags.DEFINE_multi_string(
    "over", [], "An axis to average over, as data.hold_out=fold=1,fold=2 for cross-validation."
)
SEEDS = flags.DEFINE_integer(
    "seeds", None, "Average over so many seeds; by default 3, if there is no --over.", lower_bound=1
)
PRODUCT = flags.DEFINE_bool("product", False, "All combinations of the axes.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test"], "What to evaluate on.")
METRICS = flags.DEFINE_list(
    "metrics", [], "Names as correct_pair/roc_auc; by default each objective's main one."
)


def main() -> None:
    """Trains, evaluates and compares what the flags say."""
    from atbert_jax.evaluation import grid
    from atbert_jax.evaluation.ablation import ablate
    from atbert_jax.input_pipeline.progress import Terminal

    config = base()
    over = list(OVER.value)
    if SEEDS.value or not over:
        over.append("seed=" + ",".join(map(str, range(SEEDS.value or 3))))
    cells, replicates = grid.plan(config, GRID.value, over, product=PRODUCT.value)
    outcomes = ablate(
        config,
        cells,
        replicates,
        Path(WORKDIR.value),
        split=SPLIT.value,
        metrics=METRICS.value,
        console=Terminal(),
    )
    failed = sum(bool(outcome.error) for outcome in outcomes)
    if failed:
        raise ValueError(
            f"{failed} of {len(outcomes)} runs failed; the report says why, error.txt in their"
            " folders where, and the same command tries them again"
        )


def base() -> ml_collections.ConfigDict:
    """The config that the flags name, with that of a fine-tuning if there is one."""
    from atbert_jax.evaluation import grid

    if FINETUNE.value is None:
        return CONFIG.value
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    own = config_flags.get_override_values(flags.FLAGS["finetune_config"])
    return grid.join(CONFIG.value, FINETUNE.value, overrides, own)


if __name__ == "__main__":
    command.run(main, required=("config", "workdir"), resumes=True)
