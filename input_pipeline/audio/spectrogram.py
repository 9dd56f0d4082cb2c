"""The one definition of a log-mel spectrogram, shared by the tf.data and the JAX engine."""

import dataclasses
import functools

import numpy as np

from atbert_jax import choices

# Added to the deviation of a clip that is normalised by itself: well above the rounding of its
# float32 mean, so that silence becomes 0.
CLIP_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """Settings of `log(mel(|STFT|^power) + log_floor)`; frames are centred, edges padded with 0.

    Equal to `np.log(librosa.feature.melspectrogram(...) + log_floor)` with librosa's defaults for
    window (periodic Hann), centring and padding: to 1e-4 where the waveform is float64, as
    librosa's FFT is. A float32 waveform is transformed in float32, which is three times as fast,
    and equal to 1e-4 from the clip's loudest value to 50 dB below, to 1e-3 down to 80 dB below.

    Attributes:
        sample_rate: Rate of the waveform, in Hz.
        n_fft: Length of the window and of the FFT, in samples.
        hop_length: Distance between frames, in samples.
        n_mels: Number of mel bands, F.
        f_min: Lower edge of the lowest band, in Hz.
        f_max: Upper edge of the highest band, in Hz; 0 is half the sample rate.
        mel_scale: 'slaney' (with area-normalised triangles) or 'htk' (with triangles of height 1,
            as ATBERT's torchaudio front end has them).
        power: Exponent of the magnitude: 2 is power, 1 is magnitude.
        log_floor: Added before the logarithm; the value of silence is `log(log_floor)`.
        frames: Number of frames T that every segment gets, cropped or padded with silence;
            0 leaves the `samples // hop_length + 1` that centred framing gives.

    Raises:
        ValueError: if a value is out of its range; the message names the field.
    """

    sample_rate: int = 16_000
    n_fft: int = 1024
    hop_length: int = 320
    n_mels: int = 64
    f_min: float = 0.0
    f_max: float = 0.0
    mel_scale: str = "slaney"
    power: float = 2.0
    log_floor: float = 1e-6
    frames: int = 0

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length", "n_mels", "power", "log_floor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"spectrogram.{name} must be positive, not {getattr(self, name)}")
        if self.frames < 0:
            raise ValueError(f"spectrogram.frames must be 0 or more, not {self.frames}")
        if self.n_fft % 2:
            raise ValueError(f"spectrogram.n_fft must be even to be centred, not {self.n_fft}")
        choices.require("spectrogram.mel_scale", self.mel_scale, ("slaney", "htk"))
        if not 0 <= self.f_min < self.top_frequency <= self.sample_rate / 2:
            raise ValueError(
                f"spectrogram.f_min={self.f_min} and f_max={self.f_max} must satisfy 0 <= f_min < "
                f"f_max <= sample_rate / 2 = {self.sample_rate / 2}"
            )

    @classmethod
    def for_frames(cls, samples: int, frames: int, **settings: object) -> "Spectrogram":
        """ATBERT's rule: the FFT that cuts a segment of `samples` into `frames` frames.

        hop_length = floor(samples / frames) + 1 and n_fft = 2 * hop_length (ATBERT and AVBert,
        data preparation), so that the time resolution follows the length of the segment.
        """
        hop_length = samples // frames + 1
        return cls(n_fft=2 * hop_length, hop_length=hop_length, frames=frames, **settings)

    @property
    def top_frequency(self) -> float:
        """Upper edge of the highest mel band, in Hz."""
        return self.f_max or self.sample_rate / 2

    @property
    def silence(self) -> float:
        """The log-mel value of digital silence."""
        return float(np.log(np.float32(self.log_floor)))

    def frame_count(self, samples: int) -> int:
        """Number of frames T of a segment of `samples` samples."""
        return self.frames or samples // self.hop_length + 1

    @functools.cached_property
    def window(self) -> np.ndarray:
        """Periodic Hann window (n_fft,), float64."""
        return np.hanning(self.n_fft + 1)[:-1]

    @functools.cached_property
    def mel_matrix(self) -> np.ndarray:
        """Mel filter bank (n_fft // 2 + 1, n_mels), float32: `|STFT|^power @ mel_matrix`."""
        return self.transposed_mel_matrix(0.0)

    def transposed_mel_matrix(self, semitones: float) -> np.ndarray:
        """The filter bank that hears a sound as if it were played so much higher.

        As vocal tract length perturbation does (Jaitly and Hinton 2013) it scales the frequency
        axis, at no cost. Going down, bands above the transposed half sample rate stay empty.

        Returns:
            (n_fft // 2 + 1, n_mels), float32.
        """
        from librosa.filters import mel  # librosa takes a second to import

        bank = mel(
            sr=self.sample_rate * 2.0 ** (semitones / 12),
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin=self.f_min,
            fmax=self.top_frequency,
            htk=self.mel_scale == "htk",
            norm="slaney" if self.mel_scale == "slaney" else None,
        )
        return bank.T.astype(np.float32)
