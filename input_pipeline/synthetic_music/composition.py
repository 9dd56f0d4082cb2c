"""Invented music: a piece is drawn from the habits of its genre, written out and rendered."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from atbert_jax.input_pipeline.synthetic_music.genres import GENRES, NONE, Genre
from atbert_jax.input_pipeline.synthetic_music.synthesizer import Note, drum, play, reverberate

CLIPS_PER_ARTIST = 2
# How often a piece takes a group of habits from another genre: the knob for the difficulty.
BORROWING = 0.02

_STEPS = 16
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_TONICS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
_REGISTERS = {"low": -12, "middle": 0, "high": 12}
# Voicings as scale degrees above the root.
_CHORDS = {"triad": (0, 2, 4), "seventh": (0, 2, 4, 6), "ninth": (2, 6, 8, 11), "open": (0, 4, 7)}
# Chances of a melody to move by -3 to 3 degrees.
_LEAPS = (0.05, 0.15, 0.25, 0.1, 0.25, 0.15, 0.05)
_MOODS = {
    ("slow", "major"): ("peaceful", "tender", "dreamy"),
    ("slow", "minor"): ("melancholic", "sad", "mysterious"),
    ("mid-tempo", "major"): ("warm", "easygoing", "sunny"),
    ("mid-tempo", "minor"): ("moody", "brooding", "cool"),
    ("fast", "major"): ("cheerful", "joyful", "playful"),
    ("fast", "minor"): ("tense", "restless", "dark"),
}


@dataclass(frozen=True)
class Piece:
    """What is known of a clip before a note of it is written; a part it lacks is `none`."""

    seed: int
    index: int
    genre: str
    artist: int
    tempo: int
    tonic: str
    mode: str
    lead: str
    register: str
    accompaniment: str
    bass: str
    drums: str
    mood: str
    habits: Genre

    @property
    def pace(self) -> str:
        """The tempo in a word."""
        return _pace(self.tempo)

    @property
    def key(self) -> str:
        """Tonic and mode, such as "E flat minor"."""
        return f"{self.tonic} {self.mode}"


def _pace(tempo: int) -> str:
    return "slow" if tempo < 85 else "mid-tempo" if tempo < 115 else "fast"


def compose(seed: int, index: int) -> Piece:
    """Draw the attributes of one clip; genres take turns, and an artist makes two pieces.

    Args:
        seed: seed of the set, not negative.
        index: number of the clip, not negative.

    Returns:
        The piece, a function of (seed, index) alone.
    """
    rng = np.random.default_rng([1, seed, index])
    genre = list(GENRES)[index % len(GENRES)]
    habits = _borrow(GENRES[genre], rng)
    tempo = round(rng.uniform(*habits.tempo))
    mode = "major" if rng.random() < habits.major else "minor"
    lead = _draw(habits.leads, rng)
    partners = {name: weight for name, weight in habits.accompaniments.items() if name != lead}
    accompaniment = NONE if rng.random() < 0.1 else _draw(partners, rng)
    return Piece(
        seed=seed,
        index=index,
        genre=genre,
        artist=index // len(GENRES) // CLIPS_PER_ARTIST,
        tempo=tempo,
        tonic=str(rng.choice(_TONICS)),
        mode=mode,
        lead=lead,
        register=str(rng.choice(list(_REGISTERS), p=(0.2, 0.5, 0.3))),
        accompaniment=accompaniment,
        bass=_draw(habits.basses, rng),
        drums=_draw(habits.kits, rng),
        mood=str(rng.choice(_MOODS[_pace(tempo), mode])),
        habits=habits,
    )


def _draw(weights: dict[str, int], rng: np.random.Generator) -> str:
    chances = np.array(list(weights.values()), dtype=float)
    return str(rng.choice(list(weights), p=chances / chances.sum()))


def _borrow(genre: Genre, rng: np.random.Generator) -> Genre:
    """Now and then replace habits that belong together by those of another genre."""
    groups = (
        ("tempo", "swing"),
        ("kits", "drums"),
        ("leads", "density", "riff"),
        ("accompaniments", "comping", "sustain", "arpeggio"),
        ("basses", "bassline"),
        ("major", "progressions", "chord"),
        ("reverb", "brightness"),
        ("balance",),
    )
    habits = {name: getattr(genre, name) for group in groups for name in group}
    for group in groups:
        other = GENRES[str(rng.choice(list(GENRES)))]
        if rng.random() < BORROWING:
            habits |= {name: getattr(other, name) for name in group}
    return Genre(**habits)


def render(piece: Piece, seconds: float, sample_rate: int) -> np.ndarray:
    """Turn a piece into sound.

    The parts are mixed and then go through the artist's studio (brightness, reverberation, hiss),
    so that the pieces of one artist sound alike; the level of each clip is drawn at random.

    Args:
        piece: what to play.
        seconds: length of the clip.
        sample_rate: in Hz.

    Returns:
        The waveform (N,), float64 with N = round(seconds * sample_rate) and a peak below 1.
    """
    rng = np.random.default_rng([2, piece.seed, piece.index])
    samples = round(seconds * sample_rate)
    score = _Score(piece, seconds, rng)
    tuning = rng.uniform(-30, 30)
    tracks = [
        play(instrument, notes, samples, sample_rate, tuning, rng)
        for instrument, notes in (
            (piece.lead, score.melody()),
            (piece.accompaniment, score.chords() if piece.accompaniment != NONE else []),
            (piece.bass, score.bassline() if piece.bass != NONE else []),
        )
    ]
    if piece.drums != NONE:
        tracks.append(drum(piece.drums, score.hits(), samples, sample_rate, rng))
    mix = np.zeros(samples)
    for track, level in zip(tracks, piece.habits.balance, strict=False):
        rms = max(np.sqrt(np.mean(track**2)), 1e-9)
        mix += track * level * 10 ** (rng.uniform(-1.5, 1.5) / 20) / rms
    return _produce(mix, piece, sample_rate, rng)


def _produce(
    mix: np.ndarray, piece: Piece, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    genre_number = list(GENRES).index(piece.genre)
    studio = np.random.default_rng([3, piece.seed, genre_number, piece.artist])
    decay = studio.uniform(*piece.habits.reverb)
    wet = decay * studio.uniform(0.1, 0.2)
    brightness = piece.habits.brightness + studio.uniform(-0.1, 0.1)
    hiss = 10 ** (studio.uniform(-70, -55) / 20)
    mix = reverberate(mix, sample_rate, decay, wet, studio)
    mix = lfilter([1.0, -brightness], [1.0], mix)
    mix /= np.max(np.abs(mix)) + 1e-9
    mix += hiss * rng.standard_normal(len(mix))
    return mix / np.max(np.abs(mix)) * 10 ** (rng.uniform(-6, -0.5) / 20)


class _Score:
    """Writes the parts of a piece; times are in seconds, and every bar has four beats."""

    def __init__(self, piece: Piece, seconds: float, rng: np.random.Generator) -> None:
        self._piece = piece
        self._habits = piece.habits
        self._rng = rng
        self._beat = 60.0 / piece.tempo
        self._bars = int(np.ceil(seconds / (4 * self._beat)))
        tonic = _TONICS.index(piece.tonic)
        self._base = 48 + tonic if tonic < 7 else 36 + tonic
        progressions = self._habits.progressions
        self._progression = progressions[rng.integers(len(progressions))]

    def _pitch(self, degree: int) -> int:
        octave, step = divmod(degree, 7)
        return self._base + 12 * octave + _SCALES[self._piece.mode][step]

    def _root(self, bar: int) -> int:
        """The root of the chord of a bar, as the scale degree nearest to the tonic."""
        degree = self._progression[bar % len(self._progression)]
        return degree if degree < 4 else degree - 7

    def _time(self, bar: int, step: float) -> float:
        """The moment of a step, with the middle of each beat moved by the swing."""
        beat, place = divmod(step / 4, 1)
        swing = self._habits.swing
        if place < 0.5:
            place *= 1 + swing
        else:
            place = 0.5 * (1 + swing) + (place - 0.5) * (1 - swing)
        return (4 * bar + beat + place) * self._beat

    def _onsets(self, grid: str) -> Iterator[tuple[int, int, float, float]]:
        """Yield (bar, step, start, gap to the next onset) for a grid repeated over all bars."""
        steps = [step for step, mark in enumerate(grid) if mark == "x"]
        following = [*steps[1:], steps[0] + _STEPS] if steps else []
        for bar in range(self._bars):
            for step, after in zip(steps, following, strict=True):
                start = self._time(bar, step)
                yield bar, step, start, self._time(bar, after) - start

    def _pick(self, alternatives: tuple) -> str | tuple[str, str, str]:
        return alternatives[self._rng.integers(len(alternatives))]

    def _humanize(self, start: float) -> float:
        return max(0.0, start + self._rng.normal(0.0, 0.004))

    def melody(self) -> list[Note]:
        """A walk along the scale; a riff repeats its first bar."""
        weights = np.array([1.0, 0.25, 0.7, 0.25] * 4)
        chances = weights * 4 * self._habits.density / weights.sum()
        repeats = self._rng.random() < self._habits.riff
        degree = int(self._rng.integers(1, 7))
        riff: list[tuple[int, int]] = []
        moments = []
        for bar in range(self._bars):
            line = riff
            if bar == 0 or not repeats:
                played = self._rng.random(_STEPS) < chances
                played[0] |= bar == 0
                line = self._walk(degree, bar, np.flatnonzero(played))
            riff = riff or line
            degree = line[-1][1] if line else degree
            moments += [(self._time(bar, step), tone) for step, tone in line]
        ends = [start for start, _ in moments[1:]] + [self._time(self._bars, 0)]
        offset = 12 + _REGISTERS[self._piece.register]
        return [
            Note(
                start=self._humanize(start),
                length=min(3.0, 0.92 * (end - start)),
                pitch=self._pitch(tone) + offset,
                velocity=self._rng.uniform(0.7, 1.0),
            )
            for (start, tone), end in zip(moments, ends, strict=True)
        ]

    def _walk(self, degree: int, bar: int, steps: np.ndarray) -> list[tuple[int, int]]:
        """A line of (step, scale degree) that likes the tones of the chord on the beats."""
        line = []
        for step in steps:
            degree += int(self._rng.choice(7, p=_LEAPS)) - 3
            degree = int(np.clip(degree, 0, 9))
            if step % 4 == 0 and (degree - self._root(bar)) % 7 not in (0, 2, 4):
                degree += 1 if degree < 9 else -1
            line.append((int(step), degree))
        return line

    def chords(self) -> list[Note]:
        """The chords of the progression, struck on a grid or broken into eighths."""
        habits, rng, notes = self._habits, self._rng, []
        broken = rng.random() < habits.arpeggio
        grid = "x.x.x.x.x.x.x.x." if broken else self._pick(habits.comping)
        voicing = _CHORDS[habits.chord]
        for bar, step, start, gap in self._onsets(grid):
            tones = [self._pitch(self._root(bar) + degree) for degree in voicing]
            if broken:
                tones = [tones[step // 2 % len(tones)]]
            start, velocity = self._humanize(start), rng.uniform(0.75, 1.0)
            notes += [Note(start, habits.sustain * gap, tone, velocity) for tone in tones]
        return notes

    def bassline(self) -> list[Note]:
        """Roots on the first onset of a bar, chord tones after it."""
        notes, last = [], -1
        for bar, _, start, gap in self._onsets(self._pick(self._habits.bassline)):
            degree = 0 if bar != last else int(self._rng.choice((0, 0, 0, 4, 2)))
            last = bar
            pitch = self._pitch(self._root(bar) + degree) - 12
            notes.append(
                Note(self._humanize(start), 0.85 * gap, pitch, self._rng.uniform(0.8, 1.0))
            )
        return notes

    def hits(self) -> list[tuple[str, float, float]]:
        """The drum grids, louder on the beats."""
        hits = []
        for name, grid in zip(
            ("kick", "snare", "hat"), self._pick(self._habits.drums), strict=True
        ):
            for _, step, start, _ in self._onsets(grid):
                accent = 1.0 if step % 4 == 0 else 0.8
                hits.append((name, self._humanize(start), accent * self._rng.uniform(0.8, 1.0)))
        return hits
