"""Fine-tune M3BERT on one task or on several at once.

atbert train --config m3bert_finetune:tiny,genre=label,mood=tags \
    --workdir runs/tasks --config.init_from=runs/m3bert --config.data.manifest=features/manifest.csv
"""

import ml_collections

from atbert_jax.configs import m3bert_pretrain

KINDS = {"label": "single_label", "tags": "multi_label", "numbers": "regression"}


def get_config(given: str = "base") -> ml_collections.ConfigDict:
    """One label a record, or several tasks.

    Args:
        given: Words with commas between them: the size, 'tiny', 'small' or 'base'; 'frozen' for
            heads on a frozen trunk, with a learned sum of its layers; and for each task
            `name=kind`, with kind 'label', 'tags' or 'numbers', or `name=kind:columns` with '+'
            between the columns where they are not one of the task's name. Without any task, the
            manifest's column of labels holds one for each record.

    Raises:
        ValueError: if a word is none of these; the message lists those there are.
    """
    size, *words = given.split(",")
    config = m3bert_pretrain.get_config(size)
    del config.objectives.masked_acoustic
    config.classification.views = ("audio",)
    config.classification.pooling = "mean"
    config.train.update({"steps": 3000, "batch_size": 32, "evaluate_every": 250})
    config.optimizer.update({"learning_rate": 1e-4, "warmup_steps": 200})
    for word in words:
        name, equals, rest = word.partition("=")
        if equals:
            _add(config, name, rest)
        elif word == "frozen":
            config.optimizer.frozen = (r"^model/(?!layer_weights)",)
            config.optimizer.learning_rate = 4e-3
            config.m3bert.select = "weighted"
            config.init_allow_mismatch = ("layer_weights",)
        else:
            raise ValueError(f"{word!r} is neither 'frozen' nor a task as genre=label")
    if not config.data.tasks:
        config.data.task = "single_label"
        config.objectives.classification = 1.0
        config.evaluation.best_metric = "classification/audio/accuracy"
    return config


def _add(config: ml_collections.ConfigDict, name: str, what: str) -> None:
    kind, _, columns = what.partition(":")
    if kind not in KINDS:
        raise ValueError(f"task {name!r} of kind {kind!r}; use one of {', '.join(KINDS)}")
    names = tuple(columns.split("+")) if columns else (name,)
    config.data.tasks[name] = ml_collections.ConfigDict(
        {"kind": KINDS[kind], "columns": names, "names": ()}
    )
    config.objectives[name] = 1.0
