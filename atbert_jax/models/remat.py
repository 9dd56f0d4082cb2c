"""What is kept for the backward pass and what is computed again there, by `config.model.remat`."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

KEPT = "kept"


def keep(x: jax.Array) -> jax.Array:
    """Marks what costs much to compute or little to keep: `rematerialized` calls keep it."""
    return checkpoint_name(x, KEPT)


def rematerialized(call: Callable, *, static: tuple[int, ...] = ()) -> Callable:
    """A module's method that computes what it does not `keep` again in the backward pass.

    Args:
        call: The function of its class, as `Bottleneck.__call__`.
        static: Positions of the arguments that are no arrays, counted from the module, which is 0.
    """
    policy = jax.checkpoint_policies.save_only_these_names(KEPT)
    return nnx.remat(call, static_argnums=static, policy=policy)


def apply(module: nnx.Module, *given: Any, remat: bool) -> Any:
    """What a module answers to arrays, rematerialised as a whole or not at all."""
    call = type(module).__call__
    return (rematerialized(call) if remat else call)(module, *given)
