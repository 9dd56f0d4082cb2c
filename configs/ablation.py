"""The base of ablations on the synthetic music set: a minute or two a run on two CPU cores.

python -m atbert_jax.ablate --config configs/ablation.py --workdir runs/ablation \
    --config.data.manifest=music/manifest.csv --grid model.layers=1,2,4
"""

import ml_collections

from configs import quickstart_pretrain


def get_config() -> ml_collections.ConfigDict:
    """The quickstart's pre-training, cut short."""
    config = quickstart_pretrain.get_config()
    config.train.steps = 250
    config.train.evaluate_every = 125
    config.train.keep_latest = 1
    return config
