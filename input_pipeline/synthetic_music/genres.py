"""The eight genres of the synthetic set: their habits of tempo, rhythm, harmony and sound."""

from dataclasses import dataclass

NONE = "none"


@dataclass(frozen=True)
class Genre:
    """The habits of a genre; grids have one character per sixteenth of a 4/4 bar, `x` for an onset.

    Attributes:
        tempo: lowest and highest tempo in beats per minute.
        major: probability of a major key.
        progressions: chord roots as scale degrees, one per bar.
        chord: name of the chord voicing.
        leads: instruments that may carry the melody, with their weights in the draw.
        accompaniments: instruments that may play the chords, with weights.
        basses: bass instruments with weights, `none` for no bass.
        kits: drum kits with weights, `none` for no drums.
        drums: alternatives of (kick, snare, hat) grids.
        comping: alternatives of chord grids.
        bassline: alternatives of bass grids.
        sustain: length of a chord as a share of the gap to the next.
        arpeggio: probability that chords are broken.
        density: melody notes per beat.
        riff: probability that the melody repeats every bar.
        swing: how late the middle of a beat comes, as a share of half a beat.
        reverb: shortest and longest reverberation in seconds.
        brightness: tilt of the mix, from -1 (dark) to 1 (bright).
        balance: levels of lead, accompaniment, bass and drums in the mix.
    """

    tempo: tuple[float, float]
    major: float
    progressions: tuple[tuple[int, ...], ...]
    chord: str
    leads: dict[str, int]
    accompaniments: dict[str, int]
    basses: dict[str, int]
    kits: dict[str, int]
    drums: tuple[tuple[str, str, str], ...]
    comping: tuple[str, ...]
    bassline: tuple[str, ...]
    sustain: float
    arpeggio: float
    density: float
    riff: float
    swing: float
    reverb: tuple[float, float]
    brightness: float
    balance: tuple[float, float, float, float]


GENRES: dict[str, Genre] = {
    "techno": Genre(
        tempo=(112, 140),
        major=0.25,
        progressions=((0,), (0, 5), (0, 0, 2, 3)),
        chord="open",
        leads={"synthesizer": 4, "bells": 1, "organ": 1, "electric piano": 1},
        accompaniments={"synthesizer": 2, "pad": 1, "organ": 1},
        basses={"sub bass": 2, "electric bass": 1},
        kits={"drum machine": 7, NONE: 1},
        drums=(
            ("x...x...x...x...", "....x.......x...", "..x...x...x...x."),
            ("x...x...x...x...", "............x...", "xxx.xxx.xxx.xxx."),
        ),
        comping=("..x..x....x..x..", "..x...x...x...x."),
        bassline=("..x...x...x...x.", "..xx..xx..xx..xx"),
        sustain=0.4,
        arpeggio=0.3,
        density=2.4,
        riff=0.9,
        swing=0.0,
        reverb=(0.3, 1.2),
        brightness=0.35,
        balance=(1.0, 0.4, 0.9, 1.2),
    ),
    "rock": Genre(
        tempo=(96, 150),
        major=0.55,
        progressions=((0, 4, 5, 3), (0, 6, 3, 0), (0, 3, 4, 3)),
        chord="open",
        leads={"electric guitar": 4, "organ": 1, "piano": 1},
        accompaniments={"electric guitar": 2, "organ": 1, "acoustic guitar": 1},
        basses={"electric bass": 1},
        kits={"drum kit": 7, NONE: 1},
        drums=(
            ("x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x."),
            ("x..x....x.x.....", "....x.......x..x", "x...x...x...x..."),
        ),
        comping=("x.x.x.x.x.x.x.x.", "x.....x...x.x...", "x.......x......."),
        bassline=("x.x.x.x.x.x.x.x.", "x.....x.x.....x."),
        sustain=0.9,
        arpeggio=0.0,
        density=1.6,
        riff=0.4,
        swing=0.0,
        reverb=(0.2, 0.9),
        brightness=0.45,
        balance=(1.0, 0.7, 0.6, 0.9),
    ),
    "jazz": Genre(
        tempo=(80, 170),
        major=0.5,
        progressions=((1, 4, 0, 0), (0, 5, 1, 4), (2, 5, 1, 4)),
        chord="ninth",
        leads={"trumpet": 4, "piano": 1, "electric piano": 1, "flute": 1, "acoustic guitar": 1},
        accompaniments={"piano": 3, "electric piano": 1, "acoustic guitar": 1, "organ": 1},
        basses={"double bass": 3, NONE: 1},
        kits={"brushes": 4, "drum kit": 1, NONE: 1},
        drums=(
            ("x.........x.....", "....x.......x...", "x...x.x.x...x.x."),
            ("..........x.....", "......x.......x.", "x...x.x.x...x.x."),
        ),
        comping=("x.....x.........", "..x.......x.....", "......x...x....."),
        bassline=("x...x...x...x...",),
        sustain=0.5,
        arpeggio=0.0,
        density=2.2,
        riff=0.05,
        swing=0.33,
        reverb=(0.2, 0.8),
        brightness=-0.2,
        balance=(1.0, 0.45, 0.6, 0.6),
    ),
    "classical": Genre(
        tempo=(60, 135),
        major=0.6,
        progressions=((0, 3, 4, 0), (0, 5, 1, 4), (0, 4, 0, 4)),
        chord="triad",
        leads={"violin": 4, "flute": 1, "piano": 1, "trumpet": 1},
        accompaniments={"strings": 3, "piano": 1, "organ": 1},
        basses={"double bass": 1, NONE: 2},
        kits={NONE: 7, "hand percussion": 1},
        drums=(("x...............", "................", "................"),),
        comping=("x.x.x.x.x.x.x.x.", "x...x...x...x...", "x.......x......."),
        bassline=("x.......x.......", "x..............."),
        sustain=1.0,
        arpeggio=0.55,
        density=1.8,
        riff=0.1,
        swing=0.0,
        reverb=(0.8, 2.2),
        brightness=0.1,
        balance=(1.0, 0.5, 0.4, 0.6),
    ),
    "ambient": Genre(
        tempo=(55, 100),
        major=0.5,
        progressions=((0, 3), (0, 5), (0, 2)),
        chord="ninth",
        leads={"bells": 4, "synthesizer": 1, "flute": 1, "violin": 1},
        accompaniments={"pad": 4, "strings": 1, "synthesizer": 1},
        basses={"sub bass": 1, NONE: 2},
        kits={NONE: 6, "drum machine": 1, "hand percussion": 1},
        drums=(("x...............", "................", "........x......."),),
        comping=("x...............",),
        bassline=("x...............",),
        sustain=1.1,
        arpeggio=0.1,
        density=0.6,
        riff=0.3,
        swing=0.0,
        reverb=(1.5, 3.5),
        brightness=-0.5,
        balance=(1.0, 0.6, 0.5, 0.6),
    ),
    "hip hop": Genre(
        tempo=(70, 108),
        major=0.3,
        progressions=((0, 5), (0, 3, 0, 4), (1, 4, 0, 0)),
        chord="seventh",
        leads={"electric piano": 4, "flute": 1, "synthesizer": 1, "piano": 1, "bells": 1},
        accompaniments={"electric piano": 3, "piano": 1, "pad": 1, "strings": 1},
        basses={"sub bass": 2, "electric bass": 1},
        kits={"drum machine": 4, "drum kit": 2, NONE: 1},
        drums=(
            ("x..x..x...x.....", "....x.......x...", "x.x.x.x.x.x.x.xx"),
            ("x.........xx....", "....x.......x...", "x.x.x.xxx.x.x.x."),
        ),
        comping=("x.......x..x....", "x..........x....", "x...x...x...x..."),
        bassline=("x..x......x.....", "x.......x..x...."),
        sustain=0.8,
        arpeggio=0.1,
        density=1.2,
        riff=0.8,
        swing=0.2,
        reverb=(0.2, 1.0),
        brightness=-0.35,
        balance=(1.0, 0.35, 1.1, 1.0),
    ),
    "reggae": Genre(
        tempo=(68, 100),
        major=0.6,
        progressions=((0, 3), (0, 4), (0, 3, 4, 3), (0, 1)),
        chord="triad",
        leads={"organ": 4, "trumpet": 1, "electric guitar": 1, "flute": 1},
        accompaniments={"organ": 3, "electric guitar": 1, "piano": 1, "acoustic guitar": 1},
        basses={"electric bass": 2, "sub bass": 1},
        kits={"drum kit": 4, "drum machine": 1, "hand percussion": 1, NONE: 1},
        drums=(
            ("........x.......", "........x.......", "x.x.x.x.x.x.x.x."),
            ("x...x...x...x...", "........x.......", "..x...x...x...x."),
        ),
        comping=("....x.......x...", "..x...x...x...x."),
        bassline=("x..x..x...x.x...", "..x.x...x.x....."),
        sustain=0.25,
        arpeggio=0.0,
        density=1.3,
        riff=0.4,
        swing=0.15,
        reverb=(0.4, 1.6),
        brightness=0.0,
        balance=(1.0, 0.6, 0.9, 0.8),
    ),
    "folk": Genre(
        tempo=(75, 130),
        major=0.7,
        progressions=((0, 3, 0, 4), (0, 4, 5, 3), (0, 0, 3, 4)),
        chord="triad",
        leads={"acoustic guitar": 5, "violin": 1, "flute": 1, "piano": 1},
        accompaniments={"acoustic guitar": 3, "piano": 1},
        basses={"double bass": 1, NONE: 2},
        kits={NONE: 2, "hand percussion": 1, "brushes": 1},
        drums=(
            ("x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x."),
            ("x.....x.x.......", "....x.......x.x.", "..x...x...x...x."),
        ),
        comping=("x...x.x...x.x.x.", "x.x.x.x.x.x.x.x.", "x...x...x...x..."),
        bassline=("x.......x.......",),
        sustain=1.0,
        arpeggio=0.5,
        density=1.5,
        riff=0.2,
        swing=0.0,
        reverb=(0.2, 0.9),
        brightness=0.4,
        balance=(1.0, 0.6, 0.4, 0.6),
    ),
}
