"""The synthesizer: instruments in tune, notes in time, the drums where the hits are."""

import numpy as np
import pytest

from atbert_jax.input_pipeline.synthetic_music.synthesizer import (
    INSTRUMENTS,
    KITS,
    Note,
    drum,
    play,
    reverberate,
)

SAMPLE_RATE = 16000


def rng():
    return np.random.default_rng(0)


def heard_frequency(wave, near):
    """Centre of the energy around the strongest peak within a third of `near`, in Hz."""
    size = 1 << 18
    energy = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), size)) ** 2
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    energy[np.abs(np.log2(frequencies.clip(1) / near)) > 4 / 12] = 0
    peak = frequencies[np.argmax(energy)]
    energy[np.abs(np.log2(frequencies.clip(1) / peak)) > 0.6 / 12] = 0
    return np.sum(frequencies * energy) / np.sum(energy)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("pitch", [45, 57, 69])
def test_instruments_are_in_tune(instrument, pitch):
    wave = play(instrument, [Note(0.0, 1.5, pitch, 1.0)], 24000, SAMPLE_RATE, 0.0, rng())
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    heard = heard_frequency(wave[1000:], frequency)
    # A second oscillator may be 14 cents higher, which moves the centre by half of it.
    assert abs(1200 * np.log2(heard / frequency)) < 12


def test_tuning_moves_the_pitch_by_cents():
    note = [Note(0.0, 2.0, 69, 1.0)]
    waves = (play("sub bass", note, 32000, SAMPLE_RATE, cents, rng()) for cents in (0.0, 100.0))
    heard = [heard_frequency(wave, 450.0) for wave in waves]
    assert heard[1] / heard[0] == pytest.approx(2 ** (1 / 12), abs=2e-4)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_high_notes_do_not_alias_or_grow(instrument):
    wave = play(instrument, [Note(0.0, 1.0, 104, 1.0)], 20000, SAMPLE_RATE, 0.0, rng())
    assert np.all(np.isfinite(wave))
    assert 0.001 < np.max(np.abs(wave)) < 10


def test_notes_start_and_end_when_written_and_are_cut_at_the_end():
    notes = [Note(0.5, 0.3, 60, 1.0), Note(1.9, 5.0, 60, 1.0)]
    wave = play("organ", notes, 32000, SAMPLE_RATE, 0.0, rng())
    assert np.all(wave[:8000] == 0)
    assert np.std(wave[8200:12000]) > 0.1
    assert np.all(wave[16000:30400] == 0)
    assert np.std(wave[31000:]) > 0.1


@pytest.mark.parametrize("kit", KITS)
@pytest.mark.parametrize("name", ["kick", "snare", "hat"])
def test_a_drum_sounds_at_its_hit_and_dies_away(kit, name):
    wave = drum(kit, [(name, 0.25, 1.0)], 40000, SAMPLE_RATE, rng())
    assert np.all(wave[:4000] == 0)
    energy = np.cumsum(wave**2) / np.sum(wave**2)
    assert energy[4000 + 6400] > 0.95
    assert np.max(np.abs(wave)) > 0.1


def test_reverberation_keeps_the_sound_and_adds_energy_in_proportion():
    impulse = np.zeros(64000)
    impulse[100] = 1.0
    wet = reverberate(impulse, SAMPLE_RATE, 1.0, 0.3, rng())
    assert np.all(np.abs(wet[:100]) < 1e-12)
    tail = wet - impulse
    assert np.sum(tail**2) == pytest.approx(0.3, rel=1e-9)
    # 60 dB in one second: energy of the second quarter of it is 15 dB below the first.
    first, second = (np.sum(tail[100 + a : 100 + a + 4000] ** 2) for a in (0, 4000))
    assert 10 * np.log10(first / second) == pytest.approx(15, abs=1.5)
