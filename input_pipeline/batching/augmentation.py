"""The settings of what training does to a clip."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to a clip; every amount 0 is off.

    Attributes:
        random_crop: Cut at a random place instead of the beginning (see `Segmenting.starts`).
        time_shift: Largest circular shift of the whole clip, as a share of its real segments.
        gain_db: Largest change of level up or down, in dB.
        noise_snr_db: White noise is added at a random ratio between this and 30 dB above it.
        noise_probability: Share of the clips that noise is added to.
        pitch_semitones: Largest transposition up or down; the tempo stays. Log-mels are transposed
            by their mel matrix, waveforms by a phase vocoder (see `transposition`).
        pitch_probability: Share of the clips that are transposed.
        frequency_masks: Number of SpecAugment masks over mel bands, the same for all segments.
        frequency_mask_size: Largest share of the bands under one mask.
        time_masks: Number of SpecAugment masks over frames in each segment.
        time_mask_size: Largest share of the frames under one mask.
        polarity_probability: Share of the clips that are turned over (see `effects`).
        filter_probability: Share of the clips that are low-passed or high-passed.
        delay_probability: Share of the clips that get an echo.
        reverb_probability: Share of the clips that are put into a room.
        soft_only: Do all but the crop to records with soft labels alone, as a noisy student's are.
    """

    random_crop: bool = True
    time_shift: float = 0.0
    gain_db: float = 0.0
    noise_snr_db: float = 20.0
    noise_probability: float = 0.0
    pitch_semitones: float = 0.0
    pitch_probability: float = 1.0
    frequency_masks: int = 0
    frequency_mask_size: float = 0.1
    time_masks: int = 0
    time_mask_size: float = 0.1
    polarity_probability: float = 0.0
    filter_probability: float = 0.0
    delay_probability: float = 0.0
    reverb_probability: float = 0.0
    soft_only: bool = False
