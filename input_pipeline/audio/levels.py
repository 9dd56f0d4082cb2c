"""The level of what files hold: the scale of their numbers, and channels that cancel each other."""

import math

import numpy as np

# Of integers of 16, 24, 32 and 64 bits.
FULL_SCALES = (2.0**15, 2.0**23, 2.0**31, 2.0**63)
# Floats are sound within [-1, 1]. Mixing, decoding and resampling leave some above 1, but no more.
LOUDEST = 16.0
# Resampled integers overshoot their scale by less than this.
OVERSHOOT = 1.5

# The scale of a file is told from so many parts of so many frames, evenly spaced.
PARTS, PART = 16, 4096

# Of what channels that have nothing in common would leave in their mean; less is cancellation.
CANCELLED = 0.05
# The energies that say so are those of so many frames.
FRAMES = 2**14


def parts(length: int) -> list[tuple[int, int]]:
    """Where to look for the scale of `length` frames: first frame and number of each part."""
    if length <= PARTS * PART:
        return [(0, length)]
    starts = np.linspace(0, length - PART, PARTS).astype(int)
    return [(int(start), PART) for start in starts]


def full_scale(samples: np.ndarray) -> float:
    """What numbers are divided by to be sound within [-1, 1].

    Integers of up to 16 bits have the scale of their type. Longer ones, and floats that are whole
    numbers or larger than 16, are integers of 16, 24, 32 or 64 bits, the fewest that hold them.
    Integers of 32 bits that are all multiples of 256 fill their type from above, however quiet.

    Args:
        samples: Some of the file's, of its own type.
    """
    if not samples.size:
        return 1.0
    peak = max(-float(samples.min()), float(samples.max()))
    if samples.dtype.kind == "i":
        own = -float(np.iinfo(samples.dtype).min)
        from_above = samples.dtype.itemsize == 4 and not np.any(samples & 255)
        if samples.dtype.itemsize <= 2 or from_above or not peak:
            return own
        return next(full for full in FULL_SCALES if peak <= full)
    if not 1 < peak < math.inf:
        return 1.0
    if peak <= LOUDEST and not np.array_equal(samples, np.rint(samples)):
        return 1.0
    return next((full for full in FULL_SCALES[:3] if peak <= OVERSHOOT * full), 1.0)


def mono(samples: np.ndarray) -> tuple[np.ndarray, int | None]:
    """One channel of (T, C) samples, float32: their mean, or one where that loses the sound.

    Channels of opposite phase cancel each other. Where their mean has less than a twentieth of the
    energy that it would have of channels with nothing in common, the first is taken of those with
    at least half the energy of the loudest.

    Returns:
        Waveform (T,), and which channel it is, or None for the mean.
    """
    count = samples.shape[1]
    if count == 1:
        # The same as the mean, ten times as fast.
        return samples[:, 0].astype(np.float32, copy=False), None
    some = samples[:: len(samples) // FRAMES + 1].astype(np.float64)
    energies = some.var(axis=0)  # without a constant, which is no sound
    if count * some.mean(axis=1).var() < CANCELLED * energies.mean():
        channel = int(np.argmax(energies >= energies.max() / 2))
        return samples[:, channel].astype(np.float32), channel
    return samples.mean(axis=1, dtype=np.float32), None
