"""The optax optimizer that a config describes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from atbert_jax import choices
from atbert_jax.training.freezing import TRUNK

# The defaults of `config.optimizer`.
DEFAULTS = {
    "name": "adamw",  # or 'amsgrad', 'adam', 'sgd', 'adam_sgd' (SGD from the first switch)
    "learning_rate": 1e-4,  # at its peak, behind the warm-up
    "trunk_rate": 1.0,  # factor of it for the trunk, all that is named `model/...`
    # Regular expressions on the names of parameters that stay as they are (--describe).
    "frozen": (),
    "b1": 0.9,  # decay of the mean of gradients; the momentum of 'sgd'
    "b2": 0.98,  # decay of the mean of their squares
    "weight_decay": 1e-2,  # of kernels and tables, each step by this times the rate
    "clip_norm": 1.0,  # of the global gradient; 0 is off
    "schedule": "cosine",  # after the warm-up; or 'linear', 'constant', 'steps'
    "warmup_steps": 0.05,  # a share of the run, or from 1 up as many steps
    "switch_at": (),  # shares of the run, where its next phase begins
    "switch_rates": (),  # learning rate of each phase but the first, for 'steps'
    "reload_best": False,  # each phase begins with the weights of the best checkpoint
}


def switches(config: ml_collections.ConfigDict, steps: int) -> list[int]:
    """The numbers of steps done where the run enters its next phase.

    Args:
        config: `config.optimizer`; `switch_at` are shares of the run.
        steps: Of the whole run.

    Raises:
        ValueError: if the shares do not ascend between 0 and 1, or two are the same step.
    """
    shares = tuple(config.switch_at)
    found = [round(share * steps) for share in shares]
    if any(share >= 1 for share in shares) or any(
        later <= earlier for earlier, later in zip([0, *found], found, strict=False)
    ):
        raise ValueError(
            f"config.optimizer.switch_at={shares} must be ascending shares between 0 and 1 of"
            f" config.train.steps={steps}, each of another step; they are {found}"
        )
    return found


def reloads(config: ml_collections.ConfigDict) -> list[int]:
    """The numbers of steps done where the weights of the best checkpoint come back.

    Args:
        config: The whole config; `optimizer.reload_best` says so for every switch.

    Raises:
        ValueError: if there is no switch, or nothing is validated before the first one.
    """
    if not config.optimizer.reload_best:
        return []
    found = switches(config.optimizer, config.train.steps)
    if not found or found[0] < config.train.evaluate_every:
        raise ValueError(
            "config.optimizer.reload_best needs a checkpoint before each of the steps"
            f" {found} of config.optimizer.switch_at={tuple(config.optimizer.switch_at)}, but"
            f" config.train.evaluate_every={config.train.evaluate_every}; set it to less"
        )
    return found


def warmup(config: ml_collections.ConfigDict, steps: int) -> int:
    """Number of the steps in which the rate rises, 0 if it does not.

    Args:
        config: `config.optimizer`; `warmup_steps` below 1 is a share of the run.
        steps: Of the whole run.

    Raises:
        ValueError: if the run would end before, or it is a number of steps that is not whole.
    """
    given = config.warmup_steps
    if given < 1:
        return min(round(given * steps), steps - 1)
    if given >= steps or given % 1:
        raise ValueError(
            f"config.optimizer.warmup_steps={given:g} must be a whole number of steps, less than"
            f" config.train.steps={steps}, or below 1 a share of them, such as 0.05"
        )
    return int(given)


def schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then constant, in steps, or falling to 0.

    'cosine' and 'linear' fall; 'steps' takes the next of `switch_rates` at each of `switches`.

    Args:
        config: `config.optimizer`.
        steps: Of the whole run.

    Raises:
        ValueError: if the schedule is unknown, the warm-up is longer than the run, or there is not
            one rate for each switch.
    """
    rate, rising = config.learning_rate, warmup(config, steps)
    rest = steps - rising
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(rate, rest),
        "linear": lambda: optax.linear_schedule(rate, 0.0, rest),
        "constant": lambda: optax.constant_schedule(rate),
        "steps": lambda: _stairs(config, steps),
    }
    choices.require("config.optimizer.schedule", config.schedule, after)
    return optax.join_schedules(
        [optax.linear_schedule(0.0, rate, rising), after[config.schedule]()], [rising]
    )


def _stairs(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """The rates by the number of steps behind the warm-up."""
    at, rates = switches(config, steps), tuple(config.switch_rates)
    rising = warmup(config, steps)
    if len(at) != len(rates) or min(at, default=steps) < rising:
        raise ValueError(
            f"config.optimizer.switch_rates={rates} needs one rate for each of switch_at="
            f"{tuple(config.switch_at)}, and these behind the warm-up of {rising}"
        )
    flat = [optax.constant_schedule(rate) for rate in (config.learning_rate, *rates)]
    return optax.join_schedules(flat, [step - rising for step in at])


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


class Switched(NamedTuple):
    """State of `switch`: updates done, and the states of both optimizers."""

    count: jax.Array
    first: optax.OptState
    second: optax.OptState


def switch(
    first: optax.GradientTransformation, second: optax.GradientTransformation, at: int
) -> optax.GradientTransformation:
    """The first optimizer for `at` updates, then the second, which starts anew there."""

    def init(params: dict) -> Switched:
        return Switched(jnp.zeros((), jnp.int32), first.init(params), second.init(params))

    def update(updates: dict, state: Switched, params: dict) -> tuple[dict, Switched]:
        def early(_: None) -> tuple:
            new, own = first.update(updates, state.first, params)
            return new, own, state.second

        def late(_: None) -> tuple:
            new, own = second.update(updates, state.second, params)
            return new, state.first, own

        new, *states = jax.lax.cond(state.count < at, early, late, None)
        return new, Switched(optax.safe_increment(state.count), *states)

    return optax.GradientTransformation(init, update)


def _adam_sgd(
    config: ml_collections.ConfigDict, steps: int, rate: optax.Schedule
) -> optax.GradientTransformation:
    """Adam, and from the first switch on SGD with Nesterov's momentum (Won et al. 2020).

    Weight decay is added to the gradient, of all parameters, as PyTorch's `weight_decay` is; the
    momentum goes on when only the rate changes.
    """
    if not config.switch_at:
        raise ValueError(
            "config.optimizer.name='adam_sgd' needs config.optimizer.switch_at, the share of the"
            " run from which it is SGD"
        )
    adam = optax.scale_by_adam(b1=config.b1, b2=config.b2)
    sgd = optax.trace(config.b1, nesterov=True)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        switch(adam, sgd, switches(config, steps)[0]),
        optax.scale_by_learning_rate(rate),
    )


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
    optimizers = {
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
        "adam_sgd": lambda: _adam_sgd(config, steps, rate),
    }
    choices.require("config.optimizer.name", config.name, optimizers)
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, optimizers[config.name](), slower_trunk(config.trunk_rate))
