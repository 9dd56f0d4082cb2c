"""The optax optimizer that a config describes."""

import jax
import ml_collections
import optax

from atbert_jax.training.freezing import TRUNK


def schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then cosine or linear decay to 0, or constant.

    Args:
        config: `config.optimizer`.
        steps: Of the whole run.

    Raises:
        ValueError: if the schedule is unknown, or the warm-up is longer than the run.
    """
    rate, warmup = config.learning_rate, config.warmup_steps
    if warmup >= steps:
        raise ValueError(
            f"config.optimizer.warmup_steps={warmup} must be less than config.train.steps={steps}"
        )
    rest = steps - warmup
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(rate, rest),
        "linear": lambda: optax.linear_schedule(rate, 0.0, rest),
        "constant": lambda: optax.constant_schedule(rate),
    }
    if config.schedule not in after:
        raise ValueError(
            f"config.optimizer.schedule={config.schedule!r} is none of {', '.join(after)}"
        )
    return optax.join_schedules(
        [optax.linear_schedule(0.0, rate, warmup), after[config.schedule]()], [warmup]
    )


def decayed(params: dict) -> dict:
    """True for the weights that decay: kernels, factors of kernels and word embeddings.

    Biases, normalisation scales, rotations, positions, the start of sequence and modality
    embeddings do not.
    """

    def is_weight(path: tuple, _: jax.Array) -> bool:
        return path[-1].key in ("kernel", "embedding", "down")

    return jax.tree_util.tree_map_with_path(is_weight, params)


def slower_trunk(factor: float) -> optax.GradientTransformation:
    """Multiplies what the trunk moves by, weight decay included: a learning rate of its own."""

    def scale(updates: dict, _: dict) -> dict:
        trunk = updates.get(TRUNK, {})
        return updates | {TRUNK: jax.tree.map(lambda x: factor * x, trunk)} if trunk else updates

    return optax.stateless(scale)


def build(config: ml_collections.ConfigDict, steps: int) -> optax.GradientTransformation:
    """Clipping by the global norm, then the optimizer with its schedule and the trunk's own rate.

    Args:
        config: `config.optimizer`.
        steps: Of the whole run.

    Raises:
        ValueError: if a name is unknown; the message lists those there are.
    """
    rate = schedule(config, steps)
    moments = {"b1": config.b1, "b2": config.b2}
    choices = {
        "adamw": lambda: optax.adamw(
            rate, **moments, weight_decay=config.weight_decay, mask=decayed
        ),
        "amsgrad": lambda: optax.chain(  # AdamW with AMSGrad, as AVBert was pre-trained
            optax.scale_by_amsgrad(**moments),
            optax.add_decayed_weights(config.weight_decay, decayed),
            optax.scale_by_learning_rate(rate),
        ),
        "adam": lambda: optax.adam(rate, **moments),
        "sgd": lambda: optax.sgd(rate, momentum=config.b1, nesterov=True),
    }
    if config.name not in choices:
        raise ValueError(f"config.optimizer.name={config.name!r} is none of {', '.join(choices)}")
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, choices[config.name](), slower_trunk(config.trunk_rate))
