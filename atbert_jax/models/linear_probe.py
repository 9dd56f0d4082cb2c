"""A probe: what frozen models hear in all of a clip, pooled and standardised, for a linear head."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import frontend
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.mfcc import N_MFCC, mfcc_statistics
from atbert_jax.models.taggers.tagger_frontend import Constant
from atbert_jax.models.trunk import AudioTrunk, Batch, Trunk

MFCC = "mfcc"
# Of standardised features: what no training clip had shall not decide alone.
LIMIT = 10.0
DEFAULTS = {
    "probe": {
        # By name, what is heard with: the `config` and the `contract` of a model each.
        "ears": {},
        "mfcc": True,  # statistics of MFCCs, too
    }
}


class Ears(nnx.Module):
    """A model that hears clips in chunks of its own, for what its layers say of them.

    Args:
        config: Of the model.
        contract: Of the model.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if it does not hear consecutive chunks of a waveform.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        from atbert_jax import models  # of which the probe is one

        self.contract = contract
        self.model: Trunk = models.build(config, contract, rngs=rngs)
        if self.model.audio_input == "frames" or contract.segmenting.layout != "windows":
            raise ValueError(
                f"a probe gives its models chunks of waveforms, which {config.model.name} as it was"
                " trained does not hear; probe another one"
            )
        segmenting, rate = contract.segmenting, contract.spectrogram.sample_rate
        self.segments, self.size = segmenting.segments, segmenting.samples(rate)
        self.hop = round((segmenting.hop or segmenting.length) * rate)

    def __call__(self, waveform: jax.Array, samples: jax.Array) -> jax.Array:
        """Maps clips (B, N), of which `samples` (B,) are real, to features (B, D).

        They are the mean and the maximum over time of every layer's states, one after the other.
        """
        rows, length = waveform.shape
        to_the_end = -(-max(0, length - self.segments * self.size) // self.hop) + 1
        count = min(to_the_end, -(-length // self.hop))
        starts = np.arange(count)[:, None] * self.hop + np.arange(self.segments) * self.size
        behind = max(0, int(starts.max()) + self.size - length)
        padded = jnp.pad(waveform, [(0, 0), (0, behind)])
        chunks = padded[:, starts[..., None] + np.arange(self.size)]
        real = jnp.clip(samples[:, None, None] - starts, 0, self.size)
        chunks = chunks.reshape(-1, self.segments, self.size)
        real = real.reshape(-1, self.segments)
        mask = (real > 0).astype(jnp.float32)
        batch = {"waveform": chunks, "samples": real, "segment_mask": mask}
        if self.model.audio_input == "log_mel":
            batch = frontend.prepare(batch, self.contract)
        # A chunk is heard as long as the one before has not reached the end of the clip.
        before = starts[:, 0] - self.hop + self.segments * self.size
        heard = (before < samples[:, None]) | (starts[:, 0] == 0)
        heard = mask.max(axis=1).reshape(rows, -1, 1) * heard[..., None]
        found = []
        for hidden, mask in self.model.audio_layers(batch):
            mask = (mask.reshape(rows, count, -1) * heard).reshape(rows, -1)
            states = Encoded(hidden.reshape(rows, -1, hidden.shape[-1]), mask)
            found += pooled(states)
        return jnp.concatenate(found, axis=1)


def pooled(states: Encoded) -> list[jax.Array]:
    """Mean and maximum (B, D) of the real states (B, T, D); 0 where there is none."""
    hidden, weight = states.hidden.astype(jnp.float32), states.mask[..., None]
    count = weight.sum(axis=1)
    mean = (hidden * weight).sum(axis=1) / jnp.maximum(count, 1)
    highest = hidden.max(axis=1, initial=-jnp.inf, where=weight > 0)
    return [mean, jnp.where(count > 0, highest, 0.0)]


def joined(parts: Mapping[str, jax.Array]) -> jax.Array:
    """Features (B, D_i) by name one after the other, as a linear model takes them: (B, D).

    Of what models hear these are square roots with the sign, since activations are far from normal
    (Perronnin et al. 2010); statistics of MFCCs stay as they are.
    """
    return jnp.concatenate(
        [
            values if name == MFCC else jnp.sign(values) * jnp.sqrt(jnp.abs(values))
            for name, values in parts.items()
        ],
        axis=1,
    )


class Probe(AudioTrunk):
    """Features of clips by frozen models and by statistics of MFCCs, each standardised.

    A clip is one segment. Its length is that of the longest clip that there was; what
    is padding counts for nothing.

    Args:
        config: The whole config; `config.probe` matters here.
        contract: Of one segment a clip.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if it has nothing to hear with, its models hear at another rate, or the clips
            are no waveforms of one segment.
    """

    defaults = DEFAULTS
    audio_input = "waveform"
    activation = staticmethod(nnx.relu)

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        choices.require("config.data.input", config.data.input, [self.audio_input])
        rate = contract.spectrogram.sample_rate
        samples = contract.segmenting.samples(rate)
        if contract.segmenting.segments != 1:
            raise ValueError(
                "a probe hears each clip as one segment; set config.segmenting.segments=1"
            )
        self.rate, self.samples = rate, samples
        self.mfcc, ears = config.probe.mfcc, {}
        for name, given in config.probe.ears.items():
            own = Contract.of_json(given.contract.to_dict(), f"config.probe.ears.{name}.contract")
            if own.spectrogram.sample_rate != rate:
                raise ValueError(
                    f"config.probe.ears.{name} hears {own.spectrogram.sample_rate} Hz, the probe"
                    f" {rate} Hz; give models of one rate"
                )
            ears[name] = Ears(given.config, own, rngs=rngs)
        if not ears and not self.mfcc:
            raise ValueError("a probe needs a model to hear with, or config.probe.mfcc=true")
        self.ears = nnx.Dict(ears)
        self.widths = self._widths(samples)
        self.hidden = sum(self.widths.values())
        self.mean = Constant(jnp.zeros(self.hidden))
        self.scale = Constant(jnp.ones(self.hidden))

    def _widths(self, samples: int) -> dict[str, int]:
        """Number of features of each part; computes nothing."""
        clip = jax.ShapeDtypeStruct((1, samples), jnp.float32)
        count = jax.ShapeDtypeStruct((1,), jnp.int32)
        widths = {
            name: nnx.eval_shape(ears, clip, count).shape[1] for name, ears in self.ears.items()
        }
        return widths | ({MFCC: 4 * N_MFCC} if self.mfcc else {})

    def features(self, batch: Batch) -> dict[str, jax.Array]:
        """What each model hears (B, D_i) by its name, and the statistics of MFCCs (B, 80)."""
        waveform = batch[self.audio_input][:, 0]
        samples = jnp.where(batch["segment_mask"] > 0, batch["samples"], 0)[:, 0]
        found = {name: ears(waveform, samples) for name, ears in self.ears.items()}
        return found | ({MFCC: mfcc_statistics(waveform, samples, self.rate)} if self.mfcc else {})

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """All features one after the other, standardised: (B, 1, D)."""
        del key  # frozen
        found = (joined(self.features(batch)) - self.mean[...]) * self.scale[...]
        return Encoded(jnp.clip(found, -LIMIT, LIMIT)[:, None], batch["segment_mask"])

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, 1, D) unchanged: there is one segment."""
        del key
        return embedded
