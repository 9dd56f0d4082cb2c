"""A task on what MuLaP hears with: its MusiCNN, and a head of two layers on the poolings.

python -m atbert_jax.train --config configs/mulap_downstream.py:jamendo --workdir runs/tags \
    --config.data.manifest=tracks.csv --config.init.audio=runs/mulap

Words say where the backbone comes from and whether it is trained: `jamendo,supervised,finetune`.
"""

from typing import NamedTuple

import ml_collections

from atbert_jax.configs import defaults, mulap_pretrain, words
from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS


class Task(NamedTuple):
    """A data set, with what was published for it.

    Attributes:
        kind: `config.data.task`.
        metric: That decides which checkpoint is best.
        labels: In order; empty are those of the manifest.
        targets: Columns of numbers.
        hidden: Width of the head.
        batch_size: Of the training.
        weight_decay: Beside the gradient here, within it there.
    """

    kind: str
    metric: str
    labels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    hidden: int = 512
    batch_size: int = 64
    weight_decay: float = 1e-3


TASKS = {
    "jamendo": Task(
        "multi_label", "roc_auc_macro", TAG_SETS["jamendo"], batch_size=32, weight_decay=0.0
    ),
    "mtat": Task("multi_label", "roc_auc_macro", TAG_SETS["mtat"]),
    "emomusic": Task(
        "regression", "r2", targets=("arousal", "valence"), hidden=1024, weight_decay=1e-2
    ),
    "fma_small": Task("single_label", "accuracy"),
    "nsynth": Task("single_label", "accuracy"),
}


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """A task on chunks of three seconds: a random one of each clip in training, all in evaluation.

    The rate follows a cosine, where the published one was halved on plateaus, and chunks are
    aggregated by the mean of their probabilities.

    Args:
        given: The task ('jamendo', 'mtat', 'emomusic', 'fma_small' or 'nsynth'); the backbone:
            'pretrained', by `--config.init.audio=RUN` of MuLaP, 'random', or 'supervised', by that
            of a MusiCNN as it was published (see `atbert_jax.convert`), whose front end has no
            limit below; and 'frozen' or 'finetune'.
    """
    name, backbone, mode = words.read(
        given,
        task=(TASKS, "jamendo"),
        backbone=(("pretrained", "random", "supervised"), "pretrained"),
        mode=(("frozen", "finetune"), "frozen"),
    )
    task = TASKS[name]
    config = defaults.get_config("tiny")
    config.model.name = mulap_pretrain.EARS
    mulap_pretrain.hear(config)
    if backbone == "supervised":
        config.tagger.top_db = 0.0
    if mode == "frozen":
        config.optimizer.frozen = ("^model/",)
    config.objectives.classification = 1.0
    config.classification.update(
        {"views": ("audio",), "hidden": task.hidden, "activation": "relu", "dropout": 0.0}
    )
    config.data.text_column = ""  # captions are not heard
    config.data.task = task.kind
    config.data.labels = task.labels
    config.data.target_columns = task.targets
    config.text.max_tokens = 3
    config.optimizer.update(
        {
            "name": "adamw",
            "learning_rate": 1e-3,
            "b2": 0.999,
            "weight_decay": task.weight_decay,
            "clip_norm": 0.0,
            "warmup_steps": 0,
        }
    )
    config.train.batch_size = task.batch_size
    config.evaluation.best_metric = f"classification/audio/{task.metric}"
    return config
