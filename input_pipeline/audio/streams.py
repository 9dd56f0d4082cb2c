"""The streams that follow each other in a file, where its header does not tell all of its sound.

Of what follows a first stream libsndfile hears nothing, and of an mp3 without a header no more than
its first frame leads it to expect. Here such files are divided into streams, each with a header
that is right, which are read as one.
"""

import dataclasses
import itertools
import os
import struct
from pathlib import Path
from typing import BinaryIO

import soundfile

from atbert_jax.input_pipeline.audio import flac, mpeg, remarks
from atbert_jax.input_pipeline.audio.errors import AudioError, mend
from atbert_jax.input_pipeline.audio.formats import tag_size
from atbert_jax.input_pipeline.audio.joined import Stream, count, data_of, in_memory

# Streams are held in memory while they are read, if they are no longer than this.
MOST_BYTES = 2**30
# What has more parts is no music any more, and takes long to read.
MOST_STREAMS = 1000
# Of a FLAC whose length is not known, the end is looked for in so many blocks.
LAST_BLOCKS = 8
# Less than this behind the end of a WAV is no sound that somebody would miss.
LEAST_REST = 4096
# Of a WAV before its sound, where all its other chunks are, as a rule.
WAV_HEAD = 2**16
MPEG_EXTENSIONS = (".mp3", ".mp2")


def find(path: Path) -> tuple[Stream, ...]:
    """The streams of a file; none where libsndfile by itself hears all of it, or cannot read it.

    Raises:
        AudioError: if the streams do not fit together, or are too large to be put right in memory.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        size, begin = os.fstat(file.fileno()).st_size, 0
        head, tags = file.read(16), 0
        while tag := tag_size(head):
            if (tags := tags + 1) > mpeg.MOST_TAGS:
                raise AudioError(
                    f"{path}: begins with more than {mpeg.MOST_TAGS} tags; {mend(path)}"
                )
            begin += tag
            file.seek(begin)
            head = file.read(16)
        if head[:4] == b"OggS":
            found = _ogg(path, file)
        elif head[:4] == flac.SIGNATURE:
            found = _flac(path, file, begin, size)
        elif head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            found = _wav(path, file, begin, size)
        elif mpeg.begins(head) or (path.suffix.lower() in MPEG_EXTENSIONS and _is_bare(head)):
            found = _mpeg(path, file, begin)
        else:
            found = ()
        if sum(stream.end - stream.begin for stream in found) > MOST_BYTES:
            raise AudioError(
                f"{path}: is larger than 1 GiB, and its header does not tell its length;"
                f" {mend(path)}"
            )
        return found if len(found) < 2 else _counted(path, file, found)


def _require_few(path: Path, count: int) -> None:
    if count > MOST_STREAMS:
        raise AudioError(f"{path}: is damaged, or joined, in {count - 1} places; {mend(path)}")


def _is_bare(head: bytes) -> bool:
    """Whether a file begins as none with a container does."""
    return head[:4] not in (b"RIFF", b"RF64", b"FORM", b".snd", b"caff", b"riff")


def _ogg(path: Path, file: BinaryIO) -> tuple[Stream, ...]:
    """The links of a chain: each begins with first pages, behind pages that are no first ones."""
    file.seek(0)
    data = file.read()
    at, begins, was_first = data.find(b"OggS"), [], False
    while at >= 0 and at + 27 <= len(data):
        is_first = bool(data[at + 5] & 2)
        if is_first and not was_first:
            begins.append(at)
        was_first = is_first
        count = data[at + 26]
        at = data.find(b"OggS", at + 27 + count + sum(data[at + 27 : at + 27 + count]))
    _require_few(path, len(begins))
    if len(begins) < 2:
        return ()
    return tuple(map(Stream, begins, [*begins[1:], len(data)]))


def _flac(path: Path, file: BinaryIO, begin: int, size: int) -> tuple[Stream, ...]:
    file.seek(begin)
    header = file.read(42)
    if size - begin > flac.LARGE and flac.fits(file, begin, size, header):
        return ()
    file.seek(begin)
    data = file.read()
    begins = [found.start() for found in flac.STREAM.finditer(data)]
    _require_few(path, len(begins))
    streams = []
    for start, end in itertools.pairwise([*begins, len(data)]):
        part = data[start:end]
        if count := _flac_length(part):
            head = flac.with_total(part[:42], count)
            streams.append(Stream(begin + start + 42, begin + end, head))
    if len(streams) == 1 and streams[0].head == data[:42]:
        return ()
    return tuple(streams)


def _flac_length(data: bytes) -> int:
    """How many frames of a stream can be decoded, 0 if none; of a whole one, all."""
    last = list(flac.blocks(data[-4 * flac.WINDOW :], data))[-LAST_BLOCKS:]
    # A block that breaks off ends where it began, and some of the last may be damaged.
    ends = {flac.total(data)}.union(*last) - {0}
    return next((end for end in sorted(ends, reverse=True) if _reaches(data, end)), 0)


def _reaches(data: bytes, count: int) -> bool:
    """Whether the last of `count` frames of a FLAC can be read."""
    try:
        with in_memory(flac.with_total(data[:42], count) + data[42:]) as file:
            file.seek(count - 1)
            return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _wav(path: Path, file: BinaryIO, begin: int, size: int) -> tuple[Stream, ...]:
    """Divides files that were joined, and puts the last header right, if it was never finished."""
    streams: list[Stream] = []
    while True:
        file.seek(begin)
        head = file.read(WAV_HEAD)
        data = _wav_data(head)
        if data is None:
            break
        length = int.from_bytes(head[data - 4 : data], "little")
        end = begin + data + length + length % 2
        file.seek(end)
        behind = file.read(12)
        if behind[:4] != b"RIFF" or behind[8:] != b"WAVE":
            if size - end >= LEAST_REST and not _is_chunk(behind, size - end):
                streams.append(_unfinished(path, head[:data], begin, size))
            break
        streams.append(Stream(begin, end))
        _require_few(path, len(streams))
        begin = end
    if streams and streams[-1].end < size:
        streams.append(Stream(begin, size))
    return tuple(streams)


def _unfinished(path: Path, head: bytes, begin: int, size: int) -> Stream:
    """A WAV whose header was written before its sound, and tells less than there is."""
    data, length = begin + len(head), int.from_bytes(head[-4:], "little")
    remarks.add(
        str(path),
        f"was never finished: its header tells {length} bytes of sound, and all {size - data} that"
        " are there are heard",
    )
    sizes = [struct.pack("<I", min(size - at, 2**32 - 1)) for at in (begin + 8, data)]
    return Stream(data, size, head[:4] + sizes[0] + head[8:-4] + sizes[1])


def _wav_data(head: bytes) -> int | None:
    """Where the sound of a WAV begins."""
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == b"data":
            return at + 8
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def _is_chunk(behind: bytes, rest: int) -> bool:
    """Whether what is behind the sound of a WAV is about it, as chunks and tags are."""
    if tag_size(behind) or behind[:3] == b"TAG" or behind[:8] == b"APETAGEX":
        return True
    is_name = all(32 <= byte < 127 for byte in behind[:4])
    return is_name and int.from_bytes(behind[4:8], "little") <= rest


def _mpeg(path: Path, file: BinaryIO, begin: int) -> tuple[Stream, ...]:
    file.seek(0)
    data = file.read()
    try:
        runs = mpeg.runs(data)
    except mpeg.TooMuchDamageError:
        raise AudioError(f"{path}: is damaged in too many places; {mend(path)}") from None
    if len({(run.sample_rate, run.channels) for run in runs}) > 1:
        kinds = [f"{run.sample_rate} Hz with {run.channels} channels" for run in runs]
        raise AudioError(
            f"{path}: is joined of parts that do not fit each other ({kinds[0]}, and"
            f" {next(kind for kind in kinds if kind != kinds[0])}); {mend(path)}"
        )
    _require_few(path, len(runs))
    is_alone = len(runs) == 1 and not data[begin : runs[0].begin].strip(b"\0")
    if is_alone and _is_believed(path, runs[0]):
        return ()
    return tuple(_mpeg_stream(path, run, data) for run in runs)


def _is_believed(path: Path, run: mpeg.Run) -> bool:
    """Whether libsndfile comes to the length that the frames have."""
    if run.announced:
        return run.announced == run.frames
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            return abs(file.frames - run.samples) < run.samples // run.frames
    except soundfile.LibsndfileError:
        return False


def _mpeg_stream(path: Path, run: mpeg.Run, data: bytes) -> Stream:
    """A run with a header that tells its length; the older layers have none, nor need it mostly."""
    if run.layer == 3:
        return Stream(run.first, run.end, run.announcement(data))
    with in_memory(data[run.first : run.end]) as file:
        if file.frames < run.samples - 2 * run.samples // run.frames:
            raise AudioError(f"{path}: its bit rate varies, and no header tells it; {mend(path)}")
    return Stream(run.first, run.end, frames=run.samples)


def _counted(path: Path, file: BinaryIO, found: tuple[Stream, ...]) -> tuple[Stream, ...]:
    """Streams that a decoder reads to their ends, with what it gives of each, so that places fit.

    Raises:
        AudioError: if there are none, or they have different rates or channels.
    """
    counted, kinds = [], set()
    for stream in found:
        try:
            with in_memory(data_of(file, stream)) as part:
                frames = count(part)
                kinds.add((part.samplerate, part.channels))
        except soundfile.LibsndfileError:
            continue
        if frames:
            counted.append(dataclasses.replace(stream, frames=frames))
    if not counted or len(kinds) > 1:
        words = [f"{rate} Hz with {channels} channels" for rate, channels in sorted(kinds)]
        raise AudioError(
            f"{path}: is joined of parts that do not fit each other"
            f" ({', and '.join(words) or 'none can be decoded'}); {mend(path)}"
        )
    return tuple(counted)
