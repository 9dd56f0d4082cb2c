"""Waveform -> 324 musical features a frame: chroma, MFCCs, log-mel and chroma of a constant-Q.

The features of M3BERT (Greer et al. 2023), by librosa: what is learned on them is what its users
have on disk. They take seconds of a CPU for each clip; `atbert extract` prepares them once.
"""

import dataclasses
import functools
import warnings

import numpy as np

# Width of the filter that differentiates MFCCs, in frames.
DELTA_WIDTH = 9
OCTAVES = 7
# Of which the highest lies below half of this, in Hz.
LOWEST_RATE = 11_025
# The lowest octaves of a constant-Q are computed at low rates, where less than this is nothing.
SHORTEST_SECONDS = 1.0
# A column that deviates less over its clip is constant but for rounding.
LEAST_DEVIATION = 1e-5


@dataclasses.dataclass(frozen=True)
class MusicFeatures:
    """Settings of the features of a clip, (T, D) with D = 324.

    The blocks follow one another as `columns` says:

    * `chroma`: 12, of the power spectrogram, the largest of each frame 1, tuning estimated;
    * `mfcc`: 20, of the mel bands in dB, of which those 80 dB below the loudest are cut off;
    * `mfcc_delta`: their change from frame to frame, by a Savitzky-Golay filter over 9 frames;
    * `log_mel`: ln(10 S + floor) of 128 mel bands S;
    * `cqt_chroma`: ln(10 C + floor) of 144 chroma C, of a constant-Q over 7 octaves from C1.

    Then each column has mean 0 and deviation 1 over the clip; a column that never varies is 0.
    Spectrograms have Hamming windows, are centred, and their edges padded with 0. The number of
    frames is `samples // hop_length + 1`, however short the clip.

    Attributes:
        sample_rate: Rate of the waveform, in Hz.
        hop_length: Distance between frames, in samples; a multiple of 64.
        n_fft: Length of the window and of the FFT, in samples.
        n_chroma: Number of chroma.
        n_mfcc: Number of MFCCs.
        n_mels: Number of mel bands, from 0 to half the sample rate.
        n_cqt_chroma: Number of chroma of the constant-Q, and of its bins in an octave.
        log_floor: Added before the logarithms.

    Raises:
        ValueError: if a value is out of its range; the message names the field.
    """

    sample_rate: int = 44_100
    hop_length: int = 1024
    n_fft: int = 2048
    n_chroma: int = 12
    n_mfcc: int = 20
    n_mels: int = 128
    n_cqt_chroma: int = 144
    log_floor: float = 1e-6

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                value = getattr(self, field.name)
                raise ValueError(f"features.{field.name} must be positive, not {value}")
        if self.hop_length % 2 ** (OCTAVES - 1):
            raise ValueError(
                f"features.hop_length={self.hop_length} must be a multiple of {2 ** (OCTAVES - 1)},"
                f" for each of {OCTAVES} octaves is computed at half the rate of the next one"
            )
        if self.sample_rate < LOWEST_RATE:
            raise ValueError(
                f"features.sample_rate={self.sample_rate} must be {LOWEST_RATE} or more, for"
                f" {OCTAVES} octaves from C1"
            )
        if self.n_mfcc > self.n_mels:
            raise ValueError(
                f"features.n_mfcc={self.n_mfcc} must be at most n_mels={self.n_mels}, of which"
                " MFCCs are made"
            )

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    @functools.cached_property
    def columns(self) -> dict[str, slice]:
        """Where each block lies, in order."""
        widths = {
            "chroma": self.n_chroma,
            "mfcc": self.n_mfcc,
            "mfcc_delta": self.n_mfcc,
            "log_mel": self.n_mels,
            "cqt_chroma": self.n_cqt_chroma,
        }
        ends = np.cumsum(list(widths.values())).tolist()
        return {
            name: slice(end - width, end)
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }

    @property
    def size(self) -> int:
        """Number of columns, D."""
        return self.columns["cqt_chroma"].stop

    @property
    def names(self) -> list[str]:
        """Of the columns, as `log_mel 17`, counted from 0 in each block."""
        return [
            f"{block} {number}"
            for block, where in self.columns.items()
            for number in range(where.stop - where.start)
        ]

    def frame_count(self, duration: float) -> int:
        """Number of frames T of a clip of `duration` seconds."""
        # Rounded up as resampling does, but for what is float arithmetic and no part of a sample.
        samples = int(np.ceil(round(duration * self.sample_rate, 3)))
        return samples // self.hop_length + 1


def extract(waveform: np.ndarray, settings: MusicFeatures) -> np.ndarray:
    """The features of a whole clip.

    They are M3BERT's, but for columns that never vary (see `standardized`), and for clips of less
    than 10 seconds, which it refuses. Those of less than 9 frames have their last values repeated
    for the deltas.

    Args:
        waveform: (N,), float32, in [-1, 1], at `settings.sample_rate`.
        settings: Of the features.

    Returns:
        (T, D), float32; see `MusicFeatures`.
    """
    blocks = _blocks(waveform, settings)
    return standardized(np.concatenate(list(blocks.values())).T)


def standardized(values: np.ndarray) -> np.ndarray:
    """(T, D) with mean 0 and deviation 1 in each column, but 0 where it never varies.

    The original blows such columns up, whose only variation is rounding, to deviation 1 as well.
    """
    values = values.astype(np.float64)
    deviation = values.std(axis=0)
    varies = deviation > LEAST_DEVIATION
    scaled = (values - values.mean(axis=0)) / np.where(varies, deviation, 1)
    return (scaled * varies).astype(np.float32)


def _blocks(waveform: np.ndarray, settings: MusicFeatures) -> dict[str, np.ndarray]:
    """Each block (C, T) as librosa gives it, by name."""
    import librosa  # takes a second to import

    rate, hop = settings.sample_rate, settings.hop_length
    frames = len(waveform) // hop + 1
    # Beyond the edges there is nothing anyway; frames that only silence makes are cut off.
    missing = max(0, round(SHORTEST_SECONDS * rate) - len(waveform))
    waveform = np.pad(waveform, (0, missing))
    with warnings.catch_warnings():
        # Of silence, which has no tuning, and of clips that are shorter than the lowest filters.
        warnings.simplefilter("ignore", UserWarning)
        spectrum = librosa.stft(waveform, n_fft=settings.n_fft, hop_length=hop, window="hamming")
        power = np.abs(spectrum) ** 2
        chroma = librosa.feature.chroma_stft(
            S=power, sr=rate, n_fft=settings.n_fft, n_chroma=settings.n_chroma
        )
        mel = librosa.feature.melspectrogram(S=power, sr=rate, n_mels=settings.n_mels)
        cqt_chroma = librosa.feature.chroma_cqt(
            y=waveform,
            sr=rate,
            hop_length=hop,
            n_chroma=settings.n_cqt_chroma,
            bins_per_octave=settings.n_cqt_chroma,
            n_octaves=OCTAVES,
        )
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel[:, :frames]), n_mfcc=settings.n_mfcc)
    edges = "interp" if frames >= DELTA_WIDTH else "nearest"
    return {
        "chroma": chroma[:, :frames],
        "mfcc": mfcc,
        "mfcc_delta": librosa.feature.delta(mfcc, width=DELTA_WIDTH, mode=edges),
        "log_mel": np.log(10 * mel[:, :frames] + settings.log_floor),
        "cqt_chroma": np.log(10 * cqt_chroma[:, :frames] + settings.log_floor),
    }
