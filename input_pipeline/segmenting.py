"""How a clip of any length becomes S segments of equal length with a mask."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Segmenting:
    """S segments of a clip.

    'windows' takes S consecutive segments: a long clip gives several such chunks in evaluation and
    a random one in training, a short clip fills the first segments and masks the others.
    'spaced' spreads S segments evenly over the whole clip (they overlap in a short one), as ATBERT
    and AVBert do; the clip is always one chunk.

    Attributes:
        segments: S.
        seconds: Length of one segment, in seconds.
        layout: 'windows' or 'spaced'.

    Raises:
        ValueError: if a value is out of its range; the message names the field.
    """

    segments: int = 10
    seconds: float = 1.0
    layout: str = "windows"

    def __post_init__(self) -> None:
        if self.segments < 1 or self.seconds <= 0:
            raise ValueError(
                f"segmenting needs at least one segment of more than 0 seconds, not "
                f"segments={self.segments}, seconds={self.seconds}"
            )
        if self.layout not in ("windows", "spaced"):
            raise ValueError(f"segmenting.layout is {self.layout!r}; use 'windows' or 'spaced'")

    def samples(self, sample_rate: int) -> int:
        """Length of one segment in samples."""
        return round(self.seconds * sample_rate)

    def chunks(self, duration: float) -> int:
        """Number of examples that a clip of `duration` seconds makes in evaluation."""
        if self.layout == "spaced":
            return 1
        # A rest shorter than a millisecond is rounding of the header's duration, not sound.
        return max(1, math.ceil((duration - 1e-3) / (self.segments * self.seconds)))

    def starts(
        self, duration: float, chunk: int = 0, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the segments begin.

        Args:
            duration: Length of the clip, in seconds.
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
        length = self.segments * self.seconds
        begin = chunk * length
        if position is not None:
            begin = position * max(0.0, duration - length)
        starts = begin + index * self.seconds
        mask = (starts < duration - 1e-3) | (index == 0)
        return starts, mask.astype(np.float32)
