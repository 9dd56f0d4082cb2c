"""Fine-tune ATBERT on labels, from a pre-trained checkpoint or from scratch.

atbert train --config atbert_finetune:small \
    --workdir runs/genre --config.init_from=runs/pretrain --config.data.manifest=tracks.csv

What of a pre-trained trunk is trained, a protocol says: `atbert_finetune:small,linear_probe`.
"""

import ml_collections

from atbert_jax.configs import defaults, words

# What is new learns faster than the default; what is pre-trained, at a tenth of that.
NEW_RATE, TRUNK_RATE = 1e-3, 0.1
PROTOCOLS = ("linear_probe", "mlp_probe", "partial", "full")


def use_protocol(config: ml_collections.ConfigDict, protocol: str, lower: tuple[str, ...]) -> None:
    """Sets what is trained, and how fast.

    Args:
        config: To change.
        protocol: One of `PROTOCOLS`, or '' for everything at one rate.
        lower: What 'partial' freezes, as regular expressions on the names of parameters.
    """
    fields = {
        "": {},
        "linear_probe": {"optimizer.frozen": ("^model/",), "classification.head": "linear"},
        "mlp_probe": {"optimizer.frozen": ("^model/",)},
        "partial": {"optimizer.trunk_rate": TRUNK_RATE, "optimizer.frozen": lower},
        "full": {"optimizer.trunk_rate": TRUNK_RATE},
    }
    if protocol:
        config.optimizer.learning_rate = NEW_RATE
    config.update_from_flattened_dict(fields[protocol])


def get_config(given: str = "", default: str = "base") -> ml_collections.ConfigDict:
    """Single-label classification.

    Args:
        given: The size, 'tiny', 'small' or 'base'; and the protocol, if any: 'linear_probe' (a
            linear head on a frozen trunk), 'mlp_probe' (a head of two layers on it), 'partial' (the
            trunk from the last stage of the CNN on, at a tenth of the head's rate) or 'full' (all
            of it, at a tenth). Without one all is trained at one rate.
        default: The size where none is given.
    """
    size, protocol = words.read(given, size=(defaults.PRESETS, default), protocol=(PROTOCOLS, ""))
    config = defaults.get_config(size)
    if size == "tiny":
        defaults.take_little_memory(config)
    config.objectives.classification = 1.0
    config.data.task = "single_label"
    config.evaluation.best_metric = "classification/audio_text/accuracy"
    config.augmentation.time_shift = 0.1
    config.augmentation.gain_db = 6.0
    config.augmentation.frequency_masks = 2
    config.augmentation.time_masks = 1
    config.train.steps = 3000
    config.train.evaluate_every = 250
    config.optimizer.warmup_steps = 1 / 15
    blocks = "|".join(map(str, range(sum(config.model.depths[:-1]))))
    lower = (
        f"^model/audio_cnn/(stem|blocks/({blocks}))/",
        "^model/(word_embeddings|text_positions|text_norm)",
    )
    use_protocol(config, protocol, lower)
    return config
