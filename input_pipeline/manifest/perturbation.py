"""What is done to a clip to see how robust a model is: stretched, transposed, compressed, noised.

The set of Won et al. (2020): tempos half an octave apart from the own, pitch shifts by a semitone,
dynamic range compression as on the radio, in films, in music and in speech, and white noise.
"""

import contextlib
import dataclasses
import math
import zlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Compander:
    """SoX's `compand` for one channel.

    Attributes:
        attack: Time constant of the level where the sound gets louder, in seconds.
        decay: Where it gets softer.
        points: Levels in and out, in dB of full scale; straight lines lie between, and the gain of
            the first one holds below.
        gain: Added to all levels out, in dB.
        delay: How much earlier than the sound its level is followed, in seconds.
    """

    attack: float
    decay: float
    points: tuple[tuple[float, float], ...]
    gain: float = 0.0
    delay: float = 0.0

    def __call__(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Compresses a waveform (N,); what gets louder than full scale is clipped."""
        level = self.level(waveform, sample_rate)
        ahead = min(round(self.delay * sample_rate), len(level) - 1)
        level = np.pad(level[ahead:], (0, ahead), mode="edge")
        return np.clip(waveform * self.factor(level), -1, 1).astype(np.float32)

    def level(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """The level that is followed (N,), of full scale before the first sample.

        v[n] = v[n - 1] + a * (|x[n]| - v[n - 1]) with a = 1 - exp(-1 / (sample_rate * t)), where t
        is the attack time if |x[n]| is above v[n - 1], else the decay time.
        """
        rise, fall = (-math.expm1(-1 / (sample_rate * t)) for t in (self.attack, self.decay))
        levels, level = [], 1.0
        for magnitude in np.abs(waveform).tolist():
            distance = magnitude - level
            level += distance * (rise if distance > 0 else fall)
            levels.append(level)
        return np.array(levels)

    def factor(self, level: np.ndarray) -> np.ndarray:
        """What a sound of this level is multiplied by."""
        heard, made = np.array(self.points).T
        decibels = 20 * np.log10(np.maximum(level, 1e-10))
        return 10 ** ((np.interp(decibels, heard, made - heard) + self.gain) / 20)


def _points(*levels: float) -> tuple[tuple[float, float], ...]:
    return tuple(zip(levels[::2], levels[1::2], strict=True))


COMPANDERS = {
    "radio": Compander(0.01, 1.0, _points(-90, -90, -70, -70, -60, -20, 0, 0), gain=-5.0),
    "film_standard": Compander(
        0.1, 0.3, _points(-90, -90, -70, -64, -43, -37, -31, -31, -21, -21, 0, -20), delay=0.1
    ),
    "film_light": Compander(
        0.1, 0.3, _points(-90, -90, -70, -64, -53, -47, -41, -41, -21, -21, 0, -20), delay=0.1
    ),
    "music_standard": Compander(
        0.1, 0.3, _points(-90, -90, -70, -58, -55, -43, -31, -31, -21, -21, 0, -20), delay=0.1
    ),
    "music_light": Compander(
        0.1, 0.3, _points(-90, -90, -70, -58, -65, -53, -41, -41, -21, -21, 0, -11), delay=0.1
    ),
    "speech": Compander(
        0.1, 0.3, _points(-90, -90, -70, -55, -50, -35, -31, -31, -21, -21, 0, -20), delay=0.1
    ),
}


# Of the factor of a tempo, of semitones, and of the share of noise.
RANGES = {"stretch": (0.1, 10), "pitch": (-48, 48), "noise": (0, 1)}


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """One way to change a clip, as `stretch:1.414`, `pitch:-1`, `compress:radio`, `noise:0.4`.

    Attributes:
        kind: 'stretch' (tempo by a factor), 'pitch' (up by so many semitones), 'compress' (by one
            of `COMPANDERS`) or 'noise' (this share of the sound is white noise).
        amount: How much.

    Raises:
        ValueError: if there is no such kind or amount; the message says what there is.
    """

    kind: str
    amount: float | str

    def __post_init__(self) -> None:
        if self.kind == "compress":
            known = self.amount in COMPANDERS
        else:
            lowest, highest = RANGES.get(self.kind, (math.inf, 0))
            known = not isinstance(self.amount, str) and lowest <= self.amount <= highest
        if not known:
            ranges = ", ".join(
                f"{kind}:<{low:g} to {high:g}>" for kind, (low, high) in RANGES.items()
            )
            raise ValueError(
                f"no perturbation '{self}'; use {ranges} or compress:<preset>, one of"
                f" {', '.join(COMPANDERS)}"
            )

    @classmethod
    def parse(cls, text: str) -> "Perturbation":
        """Reads `kind:amount`."""
        kind, _, amount = text.partition(":")
        with contextlib.suppress(ValueError):
            amount = float(amount)
        return cls(kind, amount)

    def __str__(self) -> str:
        """As `parse` reads it."""
        amount = f"{self.amount:g}" if isinstance(self.amount, float) else self.amount
        return f"{self.kind}:{amount}" if amount else self.kind

    @property
    def tempo(self) -> float:
        """How many times as fast the clip is afterwards."""
        return self.amount if self.kind == "stretch" else 1.0

    def __call__(self, waveform: np.ndarray, sample_rate: int, key: str) -> np.ndarray:
        """Changes a clip.

        Args:
            waveform: (N,), float32, in [-1, 1].
            sample_rate: In Hz.
            key: Noise is drawn by it: that of a clip is always the same.

        Returns:
            (N,), float32; of a stretched clip, (round(N / tempo),).
        """
        if self.kind == "compress":
            return COMPANDERS[self.amount](waveform, sample_rate)
        if self.kind == "noise":
            noise = np.random.default_rng(zlib.crc32(key.encode())).normal(size=len(waveform))
            noise *= waveform.max() / np.abs(noise).max()
            return ((1 - self.amount) * waveform + self.amount * noise).astype(np.float32)
        from librosa import effects  # librosa takes a second to import

        if self.kind == "stretch":
            return effects.time_stretch(waveform, rate=self.tempo)
        return effects.pitch_shift(waveform, sr=sample_rate, n_steps=self.amount)


# The robustness set.
ROBUSTNESS = tuple(
    Perturbation(kind, amount)
    for kind, amounts in {
        "stretch": (2**-0.5, 2**0.5),
        "pitch": (-1.0, 1.0),
        "compress": COMPANDERS,
        "noise": (0.1, 0.4),
    }.items()
    for amount in amounts
)
