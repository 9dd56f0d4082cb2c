"""Fine-tune M3BERT on one task or on several at once.

atbert train --config m3bert_finetune:tiny,genre=label,mood=tags \
    --workdir runs/tasks --config.init_from=runs/m3bert --config.data.manifest=features/manifest.csv
"""

import ml_collections

from atbert_jax import choices
from atbert_jax.configs import defaults, m3bert_pretrain, words

KINDS = {"label": "single_label", "tags": "multi_label", "numbers": "regression"}


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """One label a record, or several tasks.

    Args:
        given: The size, 'tiny', 'small' or 'base'; 'frozen' for heads on a frozen trunk, with a
            learned sum of its layers; and for each task `name=kind`, with kind 'label', 'tags' or
            'numbers', or `name=kind+column+column` where the columns are not one of the task's
            name. Without any task, the manifest's column of labels holds one for each record.
    """
    (size, trunk), tasks = words.read_with_own(
        given, size=(defaults.PRESETS, "base"), trunk=(("frozen",), "")
    )
    config = m3bert_pretrain.get_config(size)
    config.objectives.masked_acoustic = None
    config.classification.views = ("audio",)
    config.classification.pooling = "mean"
    config.train.update({"steps": 3000, "batch_size": 32, "evaluate_every": 250})
    config.optimizer.update({"learning_rate": 1e-4, "warmup_steps": 1 / 15})
    if trunk:
        config.optimizer.frozen = (r"^model/(?!layer_weights)",)
        config.optimizer.learning_rate = 4e-3
        config.m3bert.select = "weighted"
        config.init_allow_mismatch = ("layer_weights",)
    for name, (kind, *columns) in tasks.items():
        choices.require(f"task {name}", kind, KINDS)
        config.data.tasks[name] = ml_collections.ConfigDict(
            {"kind": KINDS[kind], "columns": tuple(columns) or (name,), "names": ()}
        )
        config.objectives[name] = 1.0
    if not config.data.tasks:
        config.data.task = "single_label"
        config.objectives.classification = 1.0
        config.evaluation.best_metric = "classification/audio/accuracy"
    return config
