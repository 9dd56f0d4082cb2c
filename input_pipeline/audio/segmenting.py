"""How a clip of any length becomes S segments of equal length with a mask."""

import dataclasses
import math

import numpy as np

from atbert_jax import choices


@dataclasses.dataclass(frozen=True)
class Segmenting:
    """S segments of a clip.

    'windows' takes S consecutive segments: a long clip gives several such chunks in evaluation and
    a random one in training, a short clip fills the first segments and masks the others.
    'spaced' spreads S segments evenly over the whole clip (they overlap in a short one), as ATBERT
    and AVBert do; the clip is always one chunk.

    Where the chunks of windows lie in evaluation, `hop` or `chunks` says: one begins every `hop`
    seconds until the end of the clip is heard, the last one padded with silence; or there are
    `chunks` of them, evenly spaced by Won et al.'s (2020) rule: of a clip of N samples and a chunk
    of L, they begin every (N - L) // chunks samples, so the last of those hops is never heard.
    Where they would all begin at 0, one is enough.

    Attributes:
        segments: S.
        seconds: Length of one segment, in seconds.
        layout: 'windows' or 'spaced'.
        hop: From one chunk to the next, in seconds; 0 is the length of a chunk.
        chunks: Number of evenly spaced chunks; 0 goes by `hop`.

    Raises:
        ValueError: if a value is out of its range; the message names the field.
    """

    segments: int = 10
    seconds: float = 1.0
    layout: str = "windows"
    hop: float = 0.0
    chunks: int = 0

    def __post_init__(self) -> None:
        if self.segments < 1 or self.seconds <= 0:
            raise ValueError(
                f"segmenting needs at least one segment of more than 0 seconds, not "
                f"segments={self.segments}, seconds={self.seconds}"
            )
        choices.require("segmenting.layout", self.layout, ("windows", "spaced"))
        if self.hop < 0 or self.chunks < 0 or (self.hop and self.chunks):
            raise ValueError(
                f"segmenting.hop={self.hop} and chunks={self.chunks} must be 0 or more, and one of"
                " them 0: chunks are a hop apart, or so many evenly spaced"
            )
        if self.layout == "spaced" and (self.hop or self.chunks):
            raise ValueError(
                f"segmenting.hop={self.hop} and chunks={self.chunks} are of windows; with the"
                " layout 'spaced' a clip is one chunk, so leave both at 0"
            )

    @property
    def length(self) -> float:
        """Length of one chunk of windows, in seconds."""
        return self.segments * self.seconds

    @property
    def overlapping(self) -> bool:
        """Whether chunks share sound, in clips that are not much longer than one."""
        return bool(self.chunks) or 0 < self.hop < self.length

    def __str__(self) -> str:
        """Where the chunks lie, for people."""
        if self.layout == "spaced":
            return f"one, of {self.segments} segments over the whole clip"
        if self.chunks:
            return f"{self.chunks} of {self.length:g} s, evenly spaced"
        return f"of {self.length:g} s, one every {self.hop or self.length:g} s"

    def samples(self, sample_rate: float) -> int:
        """Length of one segment in samples."""
        return round(self.seconds * sample_rate)

    def count(self, duration: float, sample_rate: float) -> int:
        """Number of chunks that a clip of `duration` seconds makes in evaluation."""
        if self.layout == "spaced":
            return 1
        if self.chunks:
            return self.chunks if self._even_hop(duration, sample_rate) else 1
        hop = self.hop or self.length
        # A rest shorter than a millisecond is rounding of the header's duration, not sound.
        duration -= 1e-3
        to_the_end = math.ceil((duration - self.length) / hop) + 1
        return max(1, min(to_the_end, math.ceil(duration / hop)))

    def chunk_starts(self, duration: float, sample_rate: float) -> np.ndarray:
        """Where the chunks of a clip begin in evaluation, in seconds, (K,)."""
        count = self.count(duration, sample_rate)
        starts = [self.starts(duration, sample_rate, chunk)[0][0] for chunk in range(count)]
        return np.array(starts, float)

    def filled(self, durations: np.ndarray) -> np.ndarray:
        """Number of segments that hold sound in one chunk, of clips of (N,) seconds."""
        if self.layout == "spaced":
            return np.full(len(durations), self.segments)
        # As in `starts`, and as much work, so that they agree to the last bit.
        begun = np.arange(self.segments) * self.seconds < durations[:, None] - 1e-3
        return np.maximum(begun.sum(axis=1), 1)

    def _even_hop(self, duration: float, sample_rate: float) -> int:
        """Samples from one of `chunks` to the next, 0 in a clip that is no longer than a chunk."""
        # Before rounding up, as resampling does, what is no part of a sample but float arithmetic.
        samples = math.ceil(round(duration * sample_rate, 3))
        return max(0, samples - self.segments * self.samples(sample_rate)) // self.chunks

    def starts(
        self, duration: float, sample_rate: float, chunk: int = 0, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the segments begin.

        Args:
            duration: Length of the clip, in seconds.
            sample_rate: Of the waveform, in Hz, or of its frames; evenly spaced chunks begin on
                samples.
            chunk: Which chunk of the clip, in evaluation.
            position: In training, a draw from [0, 1) that places the crop; None in evaluation.

        Returns:
            Starts in seconds (S,) and mask (S,), float32, 1 where the segment holds sound.
            At least the first segment does.
        """
        index = np.arange(self.segments)
        if self.layout == "spaced":
            room = max(0.0, duration - self.seconds)
            if position is not None:
                share = (index + position) / self.segments
            elif self.segments == 1:
                share = np.array([0.5])
            else:
                share = index / (self.segments - 1)
            return room * share, np.ones(self.segments, np.float32)
        if position is not None:
            begin = position * max(0.0, duration - self.length)
        elif self.chunks:
            begin = chunk * self._even_hop(duration, sample_rate) / sample_rate
        else:
            begin = chunk * (self.hop or self.length)
        starts = begin + index * self.seconds
        mask = (starts < duration - 1e-3) | (index == 0)
        return starts, mask.astype(np.float32)
