"""A small software synthesizer: notes and drum grids in, mono waveforms out, with numpy and scipy.

The melodic instruments are wavetables with an envelope, two-operator FM, or a plucked string; the
drums are swept sines and filtered noise. Every sound is a function of its arguments and of the
random generator it is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

Waveform = np.ndarray
Instrument = Callable[[float, float, int, np.random.Generator], Waveform]

_TABLE_SIZE = 4096


@dataclass(frozen=True)
class Note:
    """One note: start and length in seconds, pitch as a MIDI number, velocity in (0, 1]."""

    start: float
    length: float
    pitch: float
    velocity: float


@dataclass(frozen=True)
class Voice:
    """An instrument made of harmonics: a body that lasts and a bright layer that fades sooner.

    Attributes:
        body: amplitudes of the harmonics, the fundamental first.
        bright: amplitudes of the harmonics of the fading layer.
        attack: rise time in seconds.
        decay: time constant of the body in seconds; infinite for a blown or bowed sound.
        fade: time constant of the bright layer in seconds.
        release: length of the tail after the note in seconds.
        vibrato: depth of the vibrato in cents.
        tremolo: depth of the loudness wobble, 0 to 1.
        rate: speed of vibrato and tremolo in Hz.
        breath: level of the breath or bow noise.
        detune: distance in cents of a second oscillator; 0 for none.
        drive: gain before a tanh saturation; 0 for a clean sound.
    """

    body: tuple[float, ...]
    bright: tuple[float, ...] = (0.0,)
    attack: float = 0.005
    decay: float = np.inf
    fade: float = 0.1
    release: float = 0.08
    vibrato: float = 0.0
    tremolo: float = 0.0
    rate: float = 5.5
    breath: float = 0.0
    detune: float = 0.0
    drive: float = 0.0


@dataclass(frozen=True)
class Hit:
    """A drum sound: a sine that falls from `high` to `low` Hz plus noise between two frequencies.

    `tone` and `noise` are levels; decays and `rise` are in seconds, `band` is in Hz.
    """

    high: float = 200.0
    low: float = 200.0
    tone: float = 0.0
    tone_decay: float = 0.1
    noise: float = 0.0
    noise_decay: float = 0.05
    band: tuple[float, float] = (500.0, 7000.0)
    rise: float = 0.001


def _slope(count: int, power: float, odd_only: bool = False) -> tuple[float, ...]:
    """Return `count` harmonic amplitudes falling as 1 / k ** power."""
    return tuple(0.0 if odd_only and k % 2 == 0 else k**-power for k in range(1, count + 1))


@lru_cache(maxsize=512)
def _wavetable(amplitudes: tuple[float, ...]) -> np.ndarray:
    """Return one period (table,) of a sum of sines with these harmonic amplitudes."""
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, dtype=complex)
    spectrum[1 : len(amplitudes) + 1] = -1j * np.asarray(amplitudes)
    return np.fft.irfft(spectrum) * _TABLE_SIZE / 2


def _oscillate(amplitudes: tuple[float, ...], cycles: np.ndarray, harmonics: int) -> Waveform:
    """Read a wavetable at the phases `cycles` (n,), keeping only harmonics below Nyquist."""
    table = _wavetable(amplitudes[: max(1, harmonics)])
    return table[(cycles * _TABLE_SIZE).astype(np.int64) % _TABLE_SIZE]


def _fade_out(wave: Waveform, samples: int) -> Waveform:
    """Bring the last `samples` of a note to zero, so that it ends without a click."""
    samples = min(samples, len(wave))
    wave[len(wave) - samples :] *= np.linspace(1.0, 0.0, samples)
    return wave


def _play_voice(
    voice: Voice, frequency: float, length: float, sample_rate: int, rng: np.random.Generator
) -> Waveform:
    """Play one note of a `Voice`: (n,) with n = (length + release) * sample_rate."""
    time = np.arange(max(1, round((length + voice.release) * sample_rate))) / sample_rate
    wobble = np.sin(2 * np.pi * (voice.rate * time + rng.random()))
    cycles = frequency * time + rng.random()
    if voice.vibrato:
        # c cents at r Hz are a phase swing of f * (2 ** (c / 1200) - 1) / (2 pi r) cycles.
        swing = frequency * (2 ** (voice.vibrato / 1200) - 1) / (2 * np.pi * voice.rate)
        cycles = cycles + swing * np.minimum(1.0, time / 0.3) * wobble
    harmonics = int(0.48 * sample_rate / frequency)
    wave = _oscillate(voice.body, cycles, harmonics) * np.exp(-time / voice.decay)
    if any(voice.bright):
        wave += _oscillate(voice.bright, cycles, harmonics) * np.exp(-time / voice.fade)
    if voice.detune:
        other = cycles * 2 ** (voice.detune / 1200) + rng.random()
        wave += _oscillate(voice.body, other, harmonics) * np.exp(-time / voice.decay)
    if voice.drive:
        wave = np.tanh(voice.drive * wave)
    wave *= np.minimum(1.0, time / voice.attack) * (1 + voice.tremolo * wobble)
    if voice.breath:
        noise = lfilter([1.0, 0.0, -1.0], [1.0, -0.9, 0.5], rng.standard_normal(len(time)))
        wave += voice.breath * noise * np.minimum(1.0, time / voice.attack)
    return _fade_out(wave, round(voice.release * sample_rate))


def _play_fm(
    ratio: float,
    index: float,
    decay: float,
    strike: float,
    frequency: float,
    length: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> Waveform:
    """Play one note of two-operator FM (Chowning, 1973) with a short metallic strike on top."""
    time = np.arange(max(1, round((length + 0.3) * sample_rate))) / sample_rate
    angle = 2 * np.pi * frequency * time
    modulator = index * np.exp(-2 * time / decay) * np.sin(ratio * angle + rng.random())
    wave = np.sin(angle + modulator) * np.exp(-time / decay)
    partial_above = 7.0 * frequency
    if partial_above < 0.48 * sample_rate:
        wave += strike * np.sin(7.0 * angle) * np.exp(-time / 0.06)
    wave *= np.minimum(1.0, time / 0.003)
    return _fade_out(wave, round(0.25 * sample_rate))


def _play_pluck(
    decay: float,
    softness: float,
    frequency: float,
    length: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> Waveform:
    """Play one plucked string (Karplus and Strong, 1983) with a two-point fractional delay."""
    samples = max(1, round((length + 0.15) * sample_rate))
    delay = sample_rate / frequency - 0.5
    whole = int(delay)
    fraction = delay - whole
    loss = 10 ** (-3 / (decay * frequency))
    # The string's averaging filter (1 + z^-1) / 2 and the fractional delay in one polynomial.
    loop = np.convolve([0.5, 0.5], [1 - fraction, fraction]) * loss
    denominator = np.zeros(whole + 3)
    denominator[0] = 1.0
    denominator[whole : whole + 3] -= loop
    burst = np.zeros(samples)
    filled = min(whole, samples)
    burst[:filled] = rng.uniform(-1, 1, filled)
    burst = lfilter([1 - softness], [1, -softness], burst)
    return _fade_out(lfilter([1.0], denominator, burst), round(0.1 * sample_rate))


def _voice(**settings: object) -> Instrument:
    return partial(_play_voice, Voice(**settings))


INSTRUMENTS: dict[str, Instrument] = {
    "piano": _voice(
        body=_slope(6, 1.3), bright=_slope(16, 0.8), decay=0.7, fade=0.12, release=0.2, detune=1.5
    ),
    "electric piano": partial(_play_fm, 1.0, 1.6, 0.9, 0.25),
    "bells": partial(_play_fm, 3.51, 2.4, 1.2, 0.1),
    "acoustic guitar": partial(_play_pluck, 2.5, 0.3),
    "electric guitar": _voice(
        body=_slope(14, 0.9), attack=0.008, decay=2.5, vibrato=12.0, drive=4.0, detune=5.0
    ),
    "organ": _voice(
        body=(1.0, 0.9, 0.7, 0.6, 0.0, 0.4, 0.0, 0.4), tremolo=0.15, vibrato=6.0, rate=6.7
    ),
    "violin": _voice(
        body=(1.0, 0.7, 0.65, 0.4, 0.45, 0.3, 0.2, 0.25, 0.15, 0.12, 0.1, 0.08),
        attack=0.09,
        vibrato=32.0,
        breath=0.05,
        release=0.12,
    ),
    "flute": _voice(
        body=(1.0, 0.22, 0.08, 0.02), attack=0.06, tremolo=0.2, vibrato=10.0, rate=4.8, breath=0.12
    ),
    "synthesizer": _voice(body=_slope(8, 1.0), bright=_slope(30, 0.7), fade=0.2, detune=14.0),
    "trumpet": _voice(
        body=(0.6, 0.9, 1.0, 0.8, 0.55, 0.4, 0.25, 0.15, 0.1), attack=0.035, vibrato=8.0, drive=0.6
    ),
    "strings": _voice(
        body=_slope(10, 1.0), attack=0.25, vibrato=14.0, detune=9.0, breath=0.03, release=0.3
    ),
    "pad": _voice(body=_slope(6, 1.6), attack=0.4, detune=11.0, tremolo=0.2, rate=0.9, release=0.4),
    "sub bass": _voice(body=(1.0, 0.15, 0.05), decay=1.5),
    "electric bass": _voice(body=_slope(7, 1.2), bright=_slope(10, 0.7), decay=0.8, fade=0.06),
    "double bass": partial(_play_pluck, 1.2, 0.85),
}

KITS: dict[str, dict[str, Hit]] = {
    "drum machine": {
        "kick": Hit(high=190, low=48, tone=1.0, tone_decay=0.16),
        "snare": Hit(noise=0.8, noise_decay=0.09, band=(900, 4500)),
        "hat": Hit(noise=0.35, noise_decay=0.025, band=(6000, 7900)),
    },
    "drum kit": {
        "kick": Hit(high=130, low=60, tone=0.9, tone_decay=0.09, noise=0.15, noise_decay=0.01),
        "snare": Hit(190, 170, 0.5, 0.07, 0.7, 0.13, (400, 7000)),
        "hat": Hit(noise=0.3, noise_decay=0.06, band=(4500, 7800)),
    },
    "brushes": {
        "kick": Hit(high=90, low=60, tone=0.4, tone_decay=0.08),
        "snare": Hit(noise=0.4, noise_decay=0.12, band=(1000, 6000), rise=0.05),
        "hat": Hit(3300, 3300, 0.05, 0.25, 0.18, 0.22, (3000, 7500)),
    },
    "hand percussion": {
        "kick": Hit(high=120, low=95, tone=0.9, tone_decay=0.12, noise=0.1, noise_decay=0.01),
        "snare": Hit(high=330, low=270, tone=0.7, tone_decay=0.09, noise=0.2, noise_decay=0.012),
        "hat": Hit(noise=0.3, noise_decay=0.04, band=(3500, 7800), rise=0.02),
    },
}


def play(
    instrument: str,
    notes: Sequence[Note],
    samples: int,
    sample_rate: int,
    tuning: float,
    rng: np.random.Generator,
) -> Waveform:
    """Play one part.

    Args:
        instrument: a key of `INSTRUMENTS`; any name will do where there are no notes.
        notes: the notes; what sounds past the end is cut.
        samples: length N of the result.
        sample_rate: in Hz.
        tuning: detuning of the whole part in cents.
        rng: source of phases and noise.

    Returns:
        The part (N,), float64, at an arbitrary level; silence when there are no notes.
    """
    track = np.zeros(samples)
    played: dict[tuple[float, int], Waveform] = {}
    for note in notes:
        key = (note.pitch, round(note.length * sample_rate))
        if key not in played:
            frequency = 440.0 * 2 ** ((note.pitch - 69 + tuning / 100) / 12)
            played[key] = INSTRUMENTS[instrument](frequency, note.length, sample_rate, rng)
        _add(track, played[key], note.start, note.velocity, sample_rate)
    return track


def drum(
    kit: str,
    hits: Sequence[tuple[str, float, float]],
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Waveform:
    """Play the drums: `hits` are (drum name, start in seconds, velocity); returns (samples,)."""
    track = np.zeros(samples)
    sounds = {name: _strike(hit, sample_rate, rng) for name, hit in KITS[kit].items()}
    for name, start, velocity in hits:
        _add(track, sounds[name], start, velocity, sample_rate)
    return track


def _add(track: Waveform, sound: Waveform, start: float, velocity: float, sample_rate: int) -> None:
    first = max(0, round(start * sample_rate))
    piece = sound[: max(0, len(track) - first)]
    track[first : first + len(piece)] += velocity * piece


def _strike(hit: Hit, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Play one drum sound; frequencies above Nyquist are pulled below it."""
    decay = max(hit.tone_decay if hit.tone else 0.0, hit.noise_decay if hit.noise else 0.0)
    time = np.arange(round((5 * decay + hit.rise) * sample_rate)) / sample_rate
    frequency = hit.low + (hit.high - hit.low) * np.exp(-time / 0.03)
    wave = hit.tone * np.exp(-time / hit.tone_decay)
    wave *= np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate)
    if hit.noise:
        high = min(hit.band[1], 0.495 * sample_rate)
        low = min(hit.band[0], 0.5 * high)
        band = butter(2, (low, high), btype="bandpass", fs=sample_rate, output="sos")
        noise = sosfilt(band, rng.standard_normal(len(time)))
        noise *= hit.noise / (np.std(noise) + 1e-9)
        wave += noise * np.exp(-time / hit.noise_decay)
    return wave * np.minimum(1.0, (time + 1 / sample_rate) / hit.rise)


def reverberate(
    wave: Waveform, sample_rate: int, decay: float, wet: float, rng: np.random.Generator
) -> Waveform:
    """Add a tail of decaying noise.

    Args:
        wave: (N,).
        sample_rate: in Hz.
        decay: the time in seconds in which the tail falls by 60 dB.
        wet: energy of the tail relative to that of the dry sound.
        rng: source of the tail.

    Returns:
        The sound with its tail, cut to (N,).
    """
    time = np.arange(max(1, round(decay * sample_rate))) / sample_rate
    tail = lfilter([1.0], [1.0, -0.5], rng.standard_normal(len(time))) * 10 ** (-3 * time / decay)
    tail *= np.sqrt(wet / np.sum(tail**2))
    return wave + fftconvolve(wave, tail)[: len(wave)]
