"""Captions for invented pieces: varied sentences that say only what was synthesized."""

import numpy as np

from atbert_jax.input_pipeline.synthetic_music.composition import Piece
from atbert_jax.input_pipeline.synthetic_music.genres import NONE

# Every way of naming an instrument or a kit; no name stands for two of them.
NAMES: dict[str, tuple[str, ...]] = {
    "piano": ("piano", "grand piano"),
    "electric piano": ("electric piano", "Rhodes piano"),
    "bells": ("bells", "chimes"),
    "acoustic guitar": ("acoustic guitar", "steel-string guitar"),
    "electric guitar": ("electric guitar", "distorted guitar"),
    "organ": ("organ", "Hammond organ"),
    "violin": ("violin", "fiddle"),
    "flute": ("flute", "wooden flute"),
    "synthesizer": ("synthesizer", "synth"),
    "trumpet": ("trumpet", "horn"),
    "strings": ("strings", "bowed strings"),
    "pad": ("pad", "soft pad"),
    "drum machine": ("electronic drums", "programmed drums"),
    "drum kit": ("live drums", "a drum kit"),
    "brushes": ("brushed drums", "brushes"),
    "hand percussion": ("hand percussion", "hand drums"),
    NONE: ("no drums", "no percussion"),
}
PACES: dict[str, tuple[str, ...]] = {
    "slow": ("slow", "unhurried", "slow-paced"),
    "mid-tempo": ("mid-tempo", "moderately paced", "medium-tempo"),
    "fast": ("fast", "quick", "up-tempo"),
}
_PLURAL = ("bells", "chimes", "strings", "drums", "percussion", "brushes")
_NOUNS = ("piece", "track", "tune", "instrumental", "recording")


def caption(piece: Piece) -> str:
    """Describe a piece in one of four manners.

    The lead instrument is always named; tempo, mode, mood, register, accompaniment and drums
    usually or sometimes, the genre in about half of the captions.

    Args:
        piece: what to describe.

    Returns:
        One line of text, a function of the piece alone.
    """
    rng = np.random.default_rng([4, piece.seed, piece.index])
    manner = (_led_by, _lead_plays, _keywords, _two_sentences)[rng.integers(4)]
    return manner(piece, rng)


def _led_by(piece: Piece, rng: np.random.Generator) -> str:
    words = [*_adjectives(piece, rng), _noun(piece, rng)]
    opening = ", ".join(words[:-1]) + " " + words[-1] if len(words) > 1 else words[0]
    link = _one_of(rng, "led by", "featuring", "built around", "with a melody on")
    text = f"{_article(opening)} {link} {_lead(piece, rng)}"
    if piece.accompaniment != NONE and rng.random() < 0.75:
        text += f" {_one_of(rng, 'over', 'on top of', 'backed by')} {_accompaniment(piece, rng)}"
    if rng.random() < 0.85:
        text += f", with {_drums(piece, rng)}"
    if rng.random() < 0.25:
        text += f", at {piece.tempo} bpm"
    return _sentence(text)


def _lead_plays(piece: Piece, rng: np.random.Generator) -> str:
    lead, noun = _lead(piece, rng), _noun(piece, rng)
    verb = _one_of(rng, "playing", "soloing", "carrying the melody")
    text = f"{lead} {verb}"
    if piece.accompaniment != NONE and rng.random() < 0.75:
        text += f" over {_accompaniment(piece, rng)}"
    if rng.random() < 0.85:
        text += f" with {_drums(piece, rng)}"
    described = " ".join([", ".join(_adjectives(piece, rng)), noun]).strip()
    return _sentence(f"{text} in {_article(described)}")


def _keywords(piece: Piece, rng: np.random.Generator) -> str:
    words = [*_adjectives(piece, rng), f"{_bare_lead(piece, rng)} lead"]
    if piece.accompaniment != NONE and rng.random() < 0.75:
        words.append(f"{_one_of(rng, *NAMES[piece.accompaniment])} accompaniment")
    if rng.random() < 0.85:
        words.append(_drums(piece, rng))
    if rng.random() < 0.3:
        words.append(f"{piece.tempo} bpm")
    if rng.random() < 0.5:
        words.append(piece.genre)
    return ", ".join(words[i] for i in rng.permutation(len(words)))


def _two_sentences(piece: Piece, rng: np.random.Generator) -> str:
    noun, words = _noun(piece, rng), _adjectives(piece, rng)
    verb = _one_of(rng, "has the melody", "takes the lead", "is up front")
    if piece.lead == "bells":
        verb = _one_of(rng, "have the melody", "take the lead", "are up front")
    first = f"this {noun} is {_listed(words)}" if words else f"this is {_article(noun)}"
    second = f"{_lead(piece, rng)} {verb}"
    if piece.accompaniment != NONE and rng.random() < 0.75:
        second += f", accompanied by {_accompaniment(piece, rng)}"
    if rng.random() < 0.85:
        second += f", and there {_is_or_are(drums := _drums(piece, rng))} {drums}"
    sentences = [_sentence(first), _sentence(second)]
    if rng.random() < 0.3:
        sentences.append(_sentence(f"it is in {piece.key}"))
    return " ".join(sentences)


def _one_of(rng: np.random.Generator, *choices: str) -> str:
    return choices[rng.integers(len(choices))]


def _adjectives(piece: Piece, rng: np.random.Generator) -> list[str]:
    """Some of tempo, mood and mode, in any order."""
    words = []
    if rng.random() < 0.8:
        words.append(_one_of(rng, *PACES[piece.pace]))
    if rng.random() < 0.6:
        words.append(piece.mood)
    if rng.random() < 0.35:
        words.append(f"{piece.mode}-key")
    return [words[i] for i in rng.permutation(len(words))]


def _noun(piece: Piece, rng: np.random.Generator) -> str:
    noun = _one_of(rng, *_NOUNS)
    return f"{piece.genre} {noun}" if rng.random() < 0.5 else noun


def _bare_lead(piece: Piece, rng: np.random.Generator) -> str:
    name = _one_of(rng, *NAMES[piece.lead])
    said = piece.register != "middle" and rng.random() < 0.6
    return f"{piece.register} {name}" if said else name


def _lead(piece: Piece, rng: np.random.Generator) -> str:
    return _article(_bare_lead(piece, rng))


def _accompaniment(piece: Piece, rng: np.random.Generator) -> str:
    return _article(_one_of(rng, *NAMES[piece.accompaniment]))


def _drums(piece: Piece, rng: np.random.Generator) -> str:
    return _one_of(rng, *NAMES[piece.drums])


def _article(phrase: str) -> str:
    if phrase.endswith(_PLURAL):
        return phrase
    return f"an {phrase}" if phrase[0].lower() in "aeiou" else f"a {phrase}"


def _listed(words: list[str]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


def _is_or_are(drums: str) -> str:
    return "is" if drums.endswith(("percussion", "kit")) else "are"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
