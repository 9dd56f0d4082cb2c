"""Which files are audio, by their names, and what they are, by their first bytes."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

# What libsndfile reads, and arrays.
EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aiff", ".aif", ".aifc"),
    *(".au", ".snd", ".caf", ".w64", ".rf64", ".npy"),
)
# What ffmpeg reads, where the machine has it.
FOREIGN = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".asf", ".webm", ".weba", ".mka", ".mkv"),
    *(".amr", ".3gp", ".ape", ".wv", ".mpc", ".tta", ".ac3"),
)
ALL = EXTENSIONS + FOREIGN

# What files begin with that libsndfile does not read: where, the bytes, the name for people, and
# ffmpeg's own.
SIGNATURES = (
    (4, b"ftyp", "AAC or ALAC in MPEG-4 (m4a, mp4)", "mov"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "Windows Media (wma)", "asf"),
    (0, bytes.fromhex("1a45dfa3"), "Matroska or WebM", "matroska"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"MAC ", "Monkey's Audio (ape)", "ape"),
    (0, b"wvpk", "WavPack", "wv"),
    (0, b"MP+", "Musepack", "mpc"),
    (0, b"MPCK", "Musepack", "mpc8"),
    (0, b"TTA1", "True Audio", "tta"),
    (0, b"\x0b\x77", "AC-3", "ac3"),
    (0, b"ADIF", "AAC", "aac"),
)
# What libsndfile reads most of, but not with every codec.
CONTAINERS = {
    b"RIFF": ("WAV", "wav"),
    b"RF64": ("RF64", "wav"),
    b"FORM": ("AIFF", "aiff"),
    b"caff": ("CAF", "caf"),
    b"OggS": ("Ogg", "ogg"),
}
# Of what is read, to tell what a file is; tags before it are passed over.
HEAD = 16
ADTS_HEADER = 7


def tag_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that a file, or the rest of one, begins with; 0 without any."""
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 16 else 0)


def foreign(path: Path) -> tuple[str, str] | None:
    """What a file is that libsndfile does not read: for people and for ffmpeg; else None.

    Raises:
        OSError: if the file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        if size := tag_size(head):
            file.seek(size)
            head = file.read(HEAD)
        if _is_adts(head):
            file.seek(_adts_size(head) - len(head), os.SEEK_CUR)
            if _is_adts(file.read(ADTS_HEADER)):
                return "AAC", "aac"
    for place, signature, name, demuxer in SIGNATURES:
        if head[place : place + len(signature)] == signature:
            return name, demuxer
    return None


def container(path: Path) -> tuple[str, str] | None:
    """What a file is that ffmpeg may read where libsndfile does not, as `foreign`; else None."""
    with path.open("rb") as file:
        return CONTAINERS.get(file.read(4))


def _is_adts(head: bytes) -> bool:
    """Whether a frame of bare AAC begins here; MPEG audio has other bits for the layer."""
    return len(head) >= ADTS_HEADER and head[0] == 255 and head[1] & 0xF6 == 0xF0


def _adts_size(head: bytes) -> int:
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def described(left_out: Mapping[str, str]) -> str:
    """Files that cannot be read, for people; without any, what audio files are called.

    Args:
        left_out: Why, by path.
    """
    if not left_out:
        return ", ".join(EXTENSIONS)
    counts = Counter(Path(path).suffix.lower() for path in left_out)
    kinds = ", ".join(f"{count} {extension}" for extension, count in sorted(counts.items()))
    return f"{kinds} left out: {next(iter(left_out.values()))}"
