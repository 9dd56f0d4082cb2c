"""What several tests share: tones with a manifest and a config, and librosa's log-mel."""

import functools
import gc
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import ml_collections
import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio.decoding import read
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from tests import tones

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Most of the time of a test is compilation; workers and the commands that they start share it.
CACHE = Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# A command must not start the process of the tests again, to get huge pages.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# As for commands: what needs Keras is noticed here.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# XLA's former emitters for CPUs compile a step in a third of the time; JAX 0.11.2 knows the
# flag no more, and ends the process for it.
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

# The collector walks all of JAX's and TensorFlow's objects each time: by default, that often that
# it takes a twentieth of the time.
gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files that are read from here on, each time."""
    names = []

    def note(path: Path, *arguments: object) -> np.ndarray:
        names.append(path.name)
        return read(path, *arguments)

    monkeypatch.setattr("atbert_jax.input_pipeline.audio.decoding.read", note)
    monkeypatch.setattr("atbert_jax.input_pipeline.audio.reader.read", note)
    return names


@pytest.fixture
def tone_manifest(tmp_path: Path) -> Callable[..., Path]:
    """`tones.write_manifest` into this test's folder."""
    return functools.partial(tones.write_manifest, tmp_path)


@pytest.fixture
def tone_config() -> Callable[..., ml_collections.ConfigDict]:
    """`tones.make_config`."""
    return tones.make_config


@pytest.fixture(scope="session")
def signals() -> np.ndarray:
    """Noise, a tone, a chord and a sweep of one second at 16 kHz, (4, 16000) float32."""
    time = np.arange(16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (261.6, 329.6, 2093.0)) / 4
    sweep = 0.9 * np.sin(2 * np.pi * (100 * time + 3500 * time**2))
    noise = np.random.default_rng(0).normal(0, 0.1, time.size)
    return np.stack([noise, np.sin(2 * np.pi * 1000 * time), chord, sweep]).astype(np.float32)


@pytest.fixture(scope="session")
def real_clips() -> np.ndarray:
    """The first second of real clips at 16 kHz, (B, 16000) float32."""
    files = [next(iter(sorted(folder.rglob("*.*"))), None) for folder in DATA.glob("*/audio")]
    clips = [read(file, 16_000, 0.0, 1.0) for file in files if file]
    if not clips:
        pytest.skip(f"no real clips at {DATA}: they are not distributed")
    return np.stack([np.pad(clip, (0, 16_000 - len(clip))) for clip in clips])


@pytest.fixture(scope="session")
def librosa_log_mel() -> Callable[[np.ndarray, Spectrogram], np.ndarray]:
    """What a log-mel must be, (..., N) -> (..., F, T)."""
    from librosa.feature import melspectrogram

    def log_mel(waveform: np.ndarray, s: Spectrogram) -> np.ndarray:
        mel = melspectrogram(
            y=waveform,
            sr=s.sample_rate,
            n_fft=s.n_fft,
            hop_length=s.hop_length,
            n_mels=s.n_mels,
            fmin=s.f_min,
            fmax=s.top_frequency,
            htk=s.mel_scale == "htk",
            norm="slaney" if s.mel_scale == "slaney" else None,
            power=s.power,
        )
        return np.log(mel + s.log_floor)

    return log_mel


@pytest.fixture(scope="session")
def assert_same_log_mel() -> Callable[[np.ndarray, np.ndarray, float], None]:
    """Checks (B, F, T) against each other as exactly as float32 allows (see `Spectrogram`)."""

    def check(found: np.ndarray, expected: np.ndarray, power: float) -> None:
        found = np.asarray(found)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        loudest = expected.max(axis=(-2, -1), keepdims=True)
        for decibels, tolerance in ((50, 1e-4), (80, 1e-3)):
            # 20 dB are a factor of 10 in magnitude.
            audible = expected > loudest - decibels / 20 * power * np.log(10)
            np.testing.assert_allclose(found[audible], expected[audible], rtol=0, atol=tolerance)

    return check


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Tones of two kinds, and the manifest of them."""
    folder = tmp_path_factory.mktemp("music")
    rows = ["path,text,label,split"]
    for number, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        label = ("low", "high")[number % 2]
        time = np.arange(4000) / 8000
        tone = 0.5 * np.sin(2 * np.pi * (200 + 10 * number + 2000 * (number % 2)) * time)
        soundfile.write(folder / f"{number}.wav", tone, 8000)
        rows.append(f"{number}.wav,a {label} tone of number {number},{label},{split}")
    (folder / "tracks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def tone_run(tone_manifest, tone_config, tmp_path) -> Path:
    """A run's folder, of a network with random weights that tells tones apart by chance."""
    # Here, for it makes XLA of the whole process compile in haste.
    from tests import tiny

    manifest = tone_manifest(4, 2, 6, seconds=(0.5, 0.8, 1.3))
    changes = {**tiny.MODEL, "objectives.classification": 1.0, "classification.views": ("audio",)}
    config = tone_config(manifest, normalization="none", **changes)
    tiny.save_run(tmp_path / "run", config)
    return tmp_path / "run"
