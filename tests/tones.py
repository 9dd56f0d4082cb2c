"""Clips of one tone each, with a manifest and a config for them."""

from pathlib import Path

import ml_collections
import numpy as np
import soundfile

from atbert_jax.configs import defaults

TONE_RATE = 8000


def write_manifest(
    folder: Path,
    train: int = 6,
    val: int = 2,
    test: int = 2,
    *,
    seconds: float | tuple[float, ...] = 0.5,
    name: str = "tracks.csv",
) -> Path:
    """Writes the clips, and a manifest with ids, captions, labels and splits.

    Clips of label 'low' are at 200 to 300 Hz, those of 'high' at 2000 to 3000 Hz; the ids are
    train0, train1, ..., val0, ..., test0, ..., and every second clip is high.

    Returns:
        The manifest's path; `seconds` can name the length of each clip in turn.
    """
    lengths = seconds if isinstance(seconds, tuple) else (seconds,)
    folder = folder / Path(name).stem
    folder.mkdir()
    rows = ["id,path,text,label,split"]
    for split, count in (("train", train), ("val", val), ("test", test)):
        for number in range(count):
            label = ("low", "high")[number % 2]
            pitch = (200 if label == "low" else 2000) * (1 + number / (2 * count))
            time = np.arange(round(lengths[(len(rows) - 1) % len(lengths)] * TONE_RATE))
            tone = 0.5 * np.sin(2 * np.pi * pitch * time / TONE_RATE)
            soundfile.write(folder / f"{split}{number}.wav", tone, TONE_RATE)
            rows.append(f"{split}{number},{split}{number}.wav,a {label} tone,{label},{split}")
    manifest = folder / name
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def make_config(manifest: Path | str, **changes: object) -> ml_collections.ConfigDict:
    """The default config, small enough for tones: segments of 0.25 s, 2 of them, 16 bands.

    `changes` are fields by their dotted names.
    """
    config = defaults.get_config("tiny")
    config.data.manifest = str(manifest)
    config.data.task = "single_label"
    config.data.threads = 2
    config.data.memory_mb = 16
    config.spectrogram.update(
        {"sample_rate": TONE_RATE, "n_fft": 256, "hop_length": 128, "n_mels": 16}
    )
    config.segmenting.update({"segments": 2, "seconds": 0.25})
    config.text.update({"vocabulary": 100, "max_tokens": 8})
    config.update_from_flattened_dict(changes)
    return config
