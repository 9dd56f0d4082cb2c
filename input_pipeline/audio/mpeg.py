"""MPEG audio (mp3, mp2): its frames are counted, for no header can be believed.

Without a Xing header a decoder takes the bit rate of the first frame for that of all; with one it
stops where that says, though files may have been joined behind it. Here frames are found by their
headers, as ISO/IEC 11172-3 and 13818-3 have them; nothing is decoded.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator

from atbert_jax.input_pipeline.audio.formats import tag_size

# In kbit/s by version (MPEG-1, or 2 and 2.5) and layer.
RATES_OF_BITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)
# How often the rate is halved, by the two bits of the version: 2.5, reserved, 2 and 1.
HALVED = {0: 2, 2: 1, 3: 0}

SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xef]", re.DOTALL)
# So many frames must follow each other where the first of a run is searched.
ENOUGH = 3
# In noise one byte in 4000 looks like the first of a header. More are made to be a nuisance.
MOST_TRIED = 100_000

# Between two runs; most have one or two.
MOST_TAGS = 8

# A frame with these has no sound, but says how much the others have. Where they stand in it, by the
# version and the channels, and two bytes later behind a checksum.
TITLES = (b"Xing", b"Info", b"VBRI")
PLACES = (13, 15, 21, 23, 36, 38)
NOTHING = bytes(9)
# Of what is written into one: the title, flags (frames and bytes are given), and these.
HEADER_SIZE = 192


class TooMuchDamageError(ValueError):
    """What is no frame is so much like frames that it would take minutes to find the others."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Frames of one kind that follow each other.

    Attributes:
        begin: Where its first frame lies, with sound or the header that tells the length.
        end: Where its last one ends.
        frames: How many have sound.
        announced: How many its header tells, None without one.
        first: Where the first one with sound lies.
        header: The four bytes that the first one with sound begins with.
    """

    begin: int
    end: int
    frames: int
    announced: int | None
    first: int
    header: bytes

    @property
    def layer(self) -> int:
        """1, 2 or 3."""
        return 4 - (self.header[1] >> 1 & 3)

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return RATES[self.header[2] >> 2 & 3] >> HALVED[self.header[1] >> 3 & 3]

    @property
    def channels(self) -> int:
        """1 or 2."""
        return 1 if self.header[3] >> 6 == 3 else 2

    @property
    def samples(self) -> int:
        """Of all its frames, for each channel."""
        half = self.layer == 3 and self.header[1] >> 3 & 3 != 3
        return self.frames * (384 if self.layer == 1 else 576 if half else 1152)

    def announcement(self, data: bytes) -> bytes:
        """A frame that says how many follow: the run's own, set right, or a new one.

        Only of layer 3.
        """
        count, size = self.frames.to_bytes(4, "big"), self.end - self.first
        if self.announced is not None:
            own = data[self.begin : self.first]
            place = next(p for p in PLACES if own[p : p + 4] in TITLES)
            if own[place : place + 4] != b"VBRI" and own[place + 7] & 3 == 3:
                size = (size + len(own)).to_bytes(4, "big")
                return own[: place + 8] + count + size + own[place + 16 :]
        second = self.header[1] | 1  # without a checksum
        third = next(
            third
            for index in range(1, 15)
            if _size(second, third := index << 4 | self.header[2] & 12) >= HEADER_SIZE
        )
        frame = bytearray(_size(second, third))
        frame[:4] = 255, second, third, self.header[3]
        is_first_version, is_mono = second >> 3 & 3 == 3, self.channels == 1
        place = {(True, False): 36, (False, True): 13}.get((is_first_version, is_mono), 21)
        size = (size + len(frame)).to_bytes(4, "big")
        frame[place : place + 16] = b"Xing\0\0\0\3" + count + size
        return bytes(frame)


@functools.cache
def _size(second: int, third: int) -> int:
    """Bytes of a frame, by the second and the third of its header; 0 where it is none."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    index, rate = third >> 4, third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return 0
    bits = 1000 * RATES_OF_BITS[1 if version == 3 else 2, layer][index]
    hertz, padding = RATES[rate] >> HALVED[version], third >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def _kind(data: bytes, at: int) -> int:
    """What does not change from frame to frame: version and layer, rate, and whether it is mono."""
    return (data[at + 1] & 0xFE) << 8 | data[at + 2] & 12 | (data[at + 3] > 191)


def _frames(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The frames of one kind that follow each other from here: where each begins and ends."""
    if at + 4 > len(data):
        return
    kind = _kind(data, at)
    while at + 4 <= len(data) and data[at] == 255:
        stop = at + _size(data[at + 1], data[at + 2])
        if at == stop or stop > len(data) or _kind(data, at) != kind:
            return
        yield at, stop
        at = stop


def _next(data: bytes, at: int) -> int:
    """Where the next frames begin, behind tags and damage; the end of the data without any.

    Raises:
        TooMuchDamageError: if there is.
    """
    for _ in range(MOST_TAGS):
        at += _tag_size(data, at)
    for _ in range(MOST_TRIED):
        if not (found := SYNC.search(data, at)):
            return len(data)
        at = found.start()
        count, end = 0, at
        for _, end in _frames(data, at):  # noqa: B007
            count += 1
            if count == ENOUGH:
                return at
        if count and _is_end(data, end):
            return at
        at += 1
    raise TooMuchDamageError


def _tag_size(data: bytes, at: int) -> int:
    """Bytes of the tag that begins here; 0 without any."""
    if data[at : at + 3] == b"TAG":
        return 128
    if data[at : at + 8] == b"APETAGEX":
        return 32 + int.from_bytes(data[at + 12 : at + 16], "little")
    return tag_size(data[at : at + 10])


def _is_end(data: bytes, at: int) -> bool:
    """Whether tags, or less than a frame, are all that is left."""
    rest = data[at : at + 8]
    return len(data) - at < 4 or rest[:3] in (b"TAG", b"ID3") or rest == b"APETAGEX"


def runs(data: bytes) -> list[Run]:
    """The runs of frames in a file, in order; none where it is no MPEG audio.

    A new one begins with each frame that announces a length, where version, layer, rate or the
    number of channels change, and behind tags and damage.

    Raises:
        TooMuchDamageError: if they cannot be told from what is between them.
    """
    found: list[Run] = []
    at = _next(data, 0)
    while at < len(data):
        begin, announced, first, count, end = at, None, at, 0, at
        for start, stop in _frames(data, at):
            title = _title(data, start)
            if title and title < stop:
                if count:
                    break
                announced, first = _announced(data, title), stop
            else:
                count += 1
            end = stop
        if count:
            header = data[first : first + 4]
            found.append(Run(begin, end, count, announced, first, header))
        at = _next(data, max(end, at + 1))
    return found


def _title(data: bytes, at: int) -> int | None:
    """Where in the frame that begins here the title stands; None in a frame with sound.

    What is before it is 0, which it is in few others, behind a checksum if there is one.
    """
    if data[at + 1] & 1 and data[at + 4 : at + 13] != NOTHING:
        return None
    return next((at + p for p in PLACES if data[at + p : at + p + 4] in TITLES), None)


def _announced(data: bytes, at: int) -> int:
    """How many frames a title at this place tells; 0 where it does not."""
    if data[at : at + 4] == b"VBRI":
        return int.from_bytes(data[at + 14 : at + 18], "big")
    has_frames = data[at + 7] & 1 if at + 12 <= len(data) else 0
    return int.from_bytes(data[at + 8 : at + 12], "big") if has_frames else 0


def begins(head: bytes) -> bool:
    """Whether a file begins with a frame."""
    return len(head) >= 4 and head[0] == 255 and _size(head[1], head[2]) > 0
