"""The convolutional recurrent network (Choi et al. 2017) as Won et al. (2020) trained it."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.linear import Linear
from atbert_jax.models.taggers.blocks import axis_max
from atbert_jax.models.taggers.ladder import Ladder, steps
from atbert_jax.models.taggers.tagger_frontend import MelFrontend

# Channels, and blocks of (frequency, time) under one maximum, of each convolution.
LAYERS = ((64, (2, 2)), (128, (3, 3)), (128, (4, 4)), (128, (4, 4)))
HIDDEN, RECURRENT_LAYERS = 32, 2


class GRU(nnx.Module):
    """A gated recurrent unit with both of PyTorch's biases, gates in its order r, z, n.

    Flax's own cell has one bias for the gates r and z.

    Args:
        features_in: C.
        hidden: D.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(self, features_in: int, hidden: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.of_input = Linear(features_in, 3 * hidden, dtype=dtype, rngs=rngs)
        self.of_state = Linear(hidden, 3 * hidden, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, T, C) to the states (N, T, D), from zeros on."""
        given = self.of_input(x)

        def step(state: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
            reset, update, new = jnp.split(given, 3, axis=-1)
            own_reset, own_update, own_new = jnp.split(self.of_state(state), 3, axis=-1)
            reset, update = nnx.sigmoid(reset + own_reset), nnx.sigmoid(update + own_update)
            state = update * state + (1 - update) * jnp.tanh(new + reset * own_new)
            return state, state

        start = jnp.zeros((x.shape[0], self.hidden), given.dtype)
        _, states = jax.lax.scan(step, start, jnp.swapaxes(given, 0, 1))
        return jnp.swapaxes(states, 0, 1)


class CRNN(Ladder):
    """Four convolutions and two recurrent layers; with an output of 50 tags 394 100 parameters.

    The last state is what is known of the clip, of 29 seconds as published or of any other length.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    features = HIDDEN

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.layers = steps(LAYERS, 1, dtype=dtype, rngs=rngs)
        widths = [LAYERS[-1][0]] + [HIDDEN] * (RECURRENT_LAYERS - 1)
        self.recurrent = nnx.List([GRU(width, HIDDEN, dtype=dtype, rngs=rngs) for width in widths])

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 32); `key=None` is evaluation.

        Raises:
            ValueError: if a clip or its bands are too few for four maxima.
        """
        x = self.picture(waveform, mask, key)
        x = axis_max(x)  # of 96 bands one is left
        for layer in self.recurrent:
            x = layer(x)
        return x[:, -1]
