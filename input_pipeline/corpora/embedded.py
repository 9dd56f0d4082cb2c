"""Sound that lies within a data set's own files becomes audio files, and its columns a table."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import soundfile

from atbert_jax import choices
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.split_names import SPLITS
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.progress import track

# How a file of each format begins, and the extension that it gets.
MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au"}
FILES_IN_A_FOLDER = 10_000
# Columns that a manifest reads, which must not be others of the same name.
READ = ("id", "path", "text", "label", "labels", "split", "group", "start", "end", "duration")
READ = (*READ, "probabilities", "place")
TEXTS = ("text", "caption", "sentence", "transcription", "transcript", "description")
GROUPS = ("client_id", "speaker_id", "speaker", "artist_id", "artist")


@dataclasses.dataclass(frozen=True)
class Wave:
    """Samples (T,) or (T, C), of integers or from -1 to 1, and their rate in Hz."""

    samples: np.ndarray
    rate: int


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        names: Of the classes whose numbers are in it; empty if it has other things.
        several: Whether a cell is a list.
        is_text: Whether it has texts.
    """

    names: tuple[str, ...] = ()
    several: bool = False
    is_text: bool = False

    def read(self, cell: Any) -> Any:
        """A cell as a manifest has it: classes by name, lists with '|' between their items."""
        if self.several:
            items = (
                dataclasses.replace(self, several=False).read(item)
                for item in (() if cell is None else cell)
            )
            return "|".join(str(item) for item in items if item != "")
        if cell is None:
            return ""
        if self.names:
            return self.names[cell] if 0 <= cell < len(self.names) else ""
        return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


@dataclasses.dataclass(frozen=True)
class Roles:
    """Which column is what; '' for none.

    Attributes:
        audio: The sound.
        label: The label or labels.
        text: The text.
        group: What is never divided when splits are drawn.
        rate: The sample rate in Hz, where the data set does not tell it.
    """

    audio: str = ""
    label: str = ""
    text: str = ""
    group: str = ""
    rate: str = ""

    @classmethod
    def choose(
        cls, words: str, columns: Mapping[str, Column], sounds: Sequence[str], where: Path | str
    ) -> Self:
        """Takes the roles that are asked for, and finds the others.

        Args:
            words: As in 'label=genre,text=caption'; 'label=' is for no label.
            columns: Those of the data set, but for its sounds.
            sounds: The columns with sound.
            where: The data set, for errors.

        Raises:
            ManifestError: if there is no sound, no such role or no such column.
        """
        if not sounds:
            known = ", ".join(columns) or "none"
            raise ManifestError(
                f"{where}: has no column of audio (columns: {known}); give a data set with sound"
            )
        classes = [name for name, column in columns.items() if column.names]
        texts = [name for name in TEXTS if name in columns and columns[name].is_text]
        named = [name for name in ("label", "labels") if name in classes]
        found = {
            "audio": "audio" if "audio" in sounds else sounds[0],
            "label": (named or classes)[0] if named or len(classes) == 1 else "",
            "text": next(iter(texts), ""),
            "group": next((name for name in GROUPS if name in columns), ""),
        }
        for word in filter(None, words.split(",")):
            role, _, column = word.partition("=")
            choices.require(f"{where}: role", role, cls.__annotations__, ManifestError)
            there = {"audio": sounds, "rate": (column,)}.get(role, ("", *columns))
            found[role] = choices.require(f"{where}: {role}", column, there, ManifestError)
        return cls(**found)


# The bytes of a file, samples, a file elsewhere, or nothing, with the reason if it is known.
Sound = bytes | Wave | Path | str | None


def unpack(
    examples: Iterable[tuple[str, Sound, Mapping[str, Any]]],
    sizes: Mapping[str, int],
    columns: Mapping[str, Column],
    roles: Roles,
    folder: Path,
) -> Corpus:
    """Writes the sound of all examples into files, one at a time.

    A file that is there whole is left as it is, so that what was interrupted goes on.

    Args:
        examples: Split, sound and cells by column, of each; a path is of a file elsewhere.
        sizes: How many each split has, as the data set calls it; '' of examples without one.
        columns: Those that become columns of the manifest.
        roles: Which of them is what.
        folder: Gets `audio/SPLIT/PART/NUMBER.EXTENSION`.

    Raises:
        ManifestError: if there is no sound that can be used.
    """
    folder, renamed = folder.resolve(), _renamed(columns, roles)
    rows, left_out, counts, splits = [], {}, Counter(), _splits(sizes)
    for split, sound, cells in track(examples, "audio files", sum(sizes.values()), "files"):
        number = counts[split]
        counts[split] += 1
        place = f"{split or 'all'}/{number // FILES_IN_A_FOLDER:04}/{number:08}"
        try:
            file = _save(sound, folder / "audio" / place)
        except ValueError as error:
            left_out[place] = str(error)
            continue
        row = {"id": f"{split or 'all'}-{number:08}", "path": str(file)}
        row |= {"split": splits[split], "official_split": split} if split else {}
        rows.append(row | {new: columns[old].read(cells[old]) for old, new in renamed.items()})
    if not rows:
        reason = next(iter(left_out.values()), "it is empty")
        raise ManifestError(f"the data set has no audio that can be used: {reason}")
    published: Counter[str] = Counter()
    for split, size in sizes.items():
        published[splits[split]] += size
    label = columns.get(roles.label, Column())
    task = "multi_label" if label.several else "single_label"
    return Corpus(
        pd.DataFrame(rows),
        labels=label.names,
        task=task if roles.label else "",
        published={split: size for split, size in published.items() if split},
        left_out=left_out,
    )


def _splits(names: Iterable[str]) -> dict[str, str]:
    """What splits are in a manifest, by their first words, as in 'train_clean100'."""
    found = {name: SPLITS.get(re.split(r"[-_.]", name.lower())[0], name) for name in names}
    if {"dev", "validation"} <= set(found):
        # Of TFDS' Common Voice, where it is all that listeners found valid, test among it.
        found["validation"] = "validated"
    return found


def _renamed(columns: Mapping[str, Column], roles: Roles) -> dict[str, str]:
    """The names that columns get in the manifest."""
    renamed = {name: f"source_{name}" if name in READ else name for name in columns}
    if roles.label:
        renamed[roles.label] = "labels" if columns[roles.label].several else "label"
    for role in ("text", "group"):
        if column := getattr(roles, role):
            renamed[column] = role
    return renamed


def _save(sound: Sound, stem: Path) -> Path:
    """Writes a sound, whole or not at all.

    Raises:
        ValueError: it cannot be used; says why.
    """
    if isinstance(sound, str):
        raise ValueError(sound)
    if isinstance(sound, Path):
        if not sound.is_file():
            raise ValueError(f"has no sound in it, and there is no file {sound}")
        return sound.resolve()
    if not sound:
        raise ValueError("has no sound")
    stem.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sound, Wave):
        return _save_wave(sound, stem)
    file = stem.with_suffix(_extension(sound))
    if not file.exists() or file.read_bytes() != sound:
        part = stem.with_suffix(".part")
        part.write_bytes(sound)
        part.replace(file)
    return file


def _extension(sound: bytes) -> str:
    is_mp3 = sound[:3] == b"ID3" or (sound[0] == 0xFF and sound[1:2] >= b"\xe0")
    if extension := ".mp3" if is_mp3 else MAGIC.get(sound[:4]):
        return extension
    raise ValueError("is neither WAV, FLAC, Ogg, MP3, AIFF nor AU")


def _save_wave(wave: Wave, stem: Path) -> Path:
    """FLAC of 16 bits where the samples have no more, which is lossless, else WAV."""
    samples, kind, extension = wave.samples, "FLOAT", ".wav"
    if len(samples) == 0:
        raise ValueError("has no sound")
    if samples.dtype.kind in "iu":
        # Samples of more bits that are as small as this would be far below what can be heard.
        is_short = samples.min() >= -(2**15) and samples.max() < 2**15
        samples = samples.astype(np.int16 if is_short else np.int32)
        kind, extension = ("PCM_16", ".flac") if is_short else ("PCM_32", ".wav")
    file = stem.with_suffix(extension)
    if not _holds(file, samples):
        part = stem.with_suffix(".part")
        soundfile.write(part, samples, wave.rate, kind, format=extension[1:].upper())
        part.replace(file)
    return file


def _holds(file: Path, samples: np.ndarray) -> bool:
    try:
        return np.array_equal(soundfile.read(file, dtype=samples.dtype.name)[0], samples)
    except soundfile.LibsndfileError:  # not there, or not whole
        return False
