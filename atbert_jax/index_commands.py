"""What the commands on an index share: conditions on its columns, and the model that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atbert_jax.input_pipeline.text.visible import tidy

if TYPE_CHECKING:  # JAX is loaded after the flags are checked
    from atbert_jax.library.embedding_index import Index
    from atbert_jax.model import Model


def conditions(given: Sequence[str]) -> dict[str, str]:
    """Value by column, of `--where`.

    Raises:
        ValueError: if one is no `column=value`, or names a column again.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or tidy(name) in map(tidy, found):
            raise ValueError(f"--where={each}; give column=value, each column once")
        found[name] = value
    return found


def model_of(index: Index, checkpoint: str | None) -> Model:
    """The model that made an index.

    Args:
        index: That it made.
        checkpoint: Where it is; None where it was then.

    Raises:
        ValueError: if it is not there, or another one is.
    """
    from atbert_jax.model import load

    model = load(checkpoint or index.made.checkpoint, step=None if checkpoint else index.made.step)
    index.require(model.trained)
    return model
