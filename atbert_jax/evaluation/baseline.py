"""What a learned model has to beat: statistics of MFCCs and a linear model, in seconds on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import librosa
import numpy as np
from rich.console import Console
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atbert_jax.evaluation.significance import Hits
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset, Split
from atbert_jax.input_pipeline.progress import track
from atbert_jax.metrics import scores as metrics
from atbert_jax.models.mfcc import HOP_LENGTH, N_FFT, N_MFCC

# It listens to at most so many training clips, and to so much of each.
MOST_CLIPS = 5000
LONGEST = 60.0


def is_possible(dataset: Dataset, split: str) -> bool:
    """Whether there is something to hear: prepared features (`.npy`) are none."""
    records = [*dataset.split("train").records, *dataset.split(split).records]
    return not dataset.contract.features or all(r.path.suffix.lower() != ".npy" for r in records)


def measure(
    dataset: Dataset, labels: Labels, split: str, console: Console, *, tuned: bool
) -> tuple[dict, Hits | None]:
    """Metrics of the baseline on a split, fitted on 'train'; of single labels, what is right too.

    Args:
        dataset: With labels.
        labels: Of the only task, or of one of several.
        split: 'train', 'val' or 'test'.
        console: Where to talk.
        tuned: Thresholds of tags are chosen on 'val', too.
    """
    names = dict.fromkeys([split, "val"] if tuned else [split])
    asked = {name: _described(dataset, labels, dataset.split(name), console) for name in names}
    features = np.concatenate([described for described, _, _ in asked.values()])
    known, values, _ = _described(dataset, labels, dataset.split("train"), console)
    found = fit_and_score(known, values, features, labels.task)
    ends = np.cumsum([len(described) for described, _, _ in asked.values()])
    of_split = dict(zip(asked, np.split(found, ends[:-1]), strict=True))
    scores, (_, targets, records) = of_split[split], asked[split]
    if labels.task == "regression":
        scale, centre = np.array(labels.std), np.array(labels.mean)
        scores, targets = scores * scale + centre, targets * scale + centre
    chosen = {}
    if tuned:
        chosen["thresholds"] = metrics.best_thresholds(
            of_split["val"], asked["val"][1], labels.names
        )
    hits = Hits.of(records, scores, targets) if labels.task == "single_label" else None
    return metrics.TASK_METRICS[labels.task](scores, targets, labels.names, **chosen), hits


def _described(
    dataset: Dataset, labels: Labels, split: Split, console: Console
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MFCC statistics (N, F) and labels (N, C) of the readable records that somebody labelled.

    Behind them the numbers (N,) of these records.
    """
    values, mask = (split.tables[name] for name in labels.fields)
    rows = np.flatnonzero((mask > 0) & ~split.soft)
    rows = rows[:: -(-len(rows) // MOST_CLIPS)]
    features, kept = heard(dataset, split, rows, console)
    return features, values[kept], kept


def heard(
    dataset: Dataset, split: Split, rows: Sequence[int], console: Console
) -> tuple[np.ndarray, np.ndarray]:
    """MFCC statistics (N, F) of those of some records of a split that are readable; and which.

    Args:
        dataset: Gives the sample rate.
        split: With the records.
        rows: Their numbers.
        console: Where to talk.
    """
    rate = dataset.contract.spectrogram.sample_rate
    features, kept = np.zeros((len(rows), 4 * N_MFCC)), []
    for row in track(rows, "MFCC baseline", len(rows), "clips", console=console):
        try:
            waveform = decoding.read_clip(split.records[row], rate, LONGEST)
        except decoding.AudioError:
            continue  # reported where the model met it
        features[len(kept)] = mfcc_statistics(waveform, rate)
        kept.append(row)
    return features[: len(kept)], np.array(kept, int)


def mfcc_statistics(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Describes a clip by the mean and deviation over time of its MFCCs and their deltas.

    Clips shorter than one analysis window are padded with silence; silent ones are described too.

    Args:
        waveform: (T,) mono samples.
        sample_rate: in Hz.

    Returns:
        (F,) = (80,) float64: mean and standard deviation of 20 MFCCs, then those of 20 deltas.

    Raises:
        ValueError: when the waveform is not one-dimensional or not finite.
    """
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1:
        raise ValueError(f"the baseline reads mono samples (T,), not {waveform.shape}; mix down")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform has samples that are not finite; leave this file out")
    if len(waveform) < N_FFT:
        waveform = np.pad(waveform, (0, N_FFT - len(waveform)))
    mfcc = librosa.feature.mfcc(
        y=waveform, sr=sample_rate, n_mfcc=N_MFCC, n_fft=N_FFT, hop_length=HOP_LENGTH
    )
    # The default way to treat the edges needs nine frames; repeating the edge needs only one.
    delta = librosa.feature.delta(mfcc, mode="nearest")
    parts = [mfcc.mean(axis=1), mfcc.std(axis=1), delta.mean(axis=1), delta.std(axis=1)]
    return np.concatenate(parts).astype(np.float64)


def features(waveforms: Iterable[np.ndarray], sample_rate: int) -> np.ndarray:
    """Describes clips one at a time, so that they may come from a generator.

    Args:
        waveforms: N clips, each (T,) of its own length.
        sample_rate: in Hz, the same for all.

    Returns:
        (N, F) as `mfcc_statistics` gives them.

    Raises:
        ValueError: on no clips, or a clip that cannot be described, named by its position.
    """
    rows = []
    for position, waveform in enumerate(waveforms):
        try:
            rows.append(mfcc_statistics(waveform, sample_rate))
        except ValueError as error:
            raise ValueError(f"clip {position}: {error}") from error
    if not rows:
        raise ValueError("no clips to describe; check that the split has readable audio")
    return np.stack(rows)


def fit_and_score(
    train_features: np.ndarray, train_targets: np.ndarray, test_features: np.ndarray, task: str
) -> np.ndarray:
    """Fits a linear model on standardized features and scores the test clips, deterministically.

    Single-label: multinomial logistic regression on the largest target. Multi-label: one logistic
    regression per tag; a tag that all or none of the training clips have keeps that as its score.
    Regression: ridge. What the training clips do not show, the baseline scores 0.

    Args:
        train_features: (N, F).
        train_targets: (N, C) one-hot or soft, 0/1, or real values, after the task.
        test_features: (M, F).
        task: 'single_label', 'multi_label' or 'regression'.

    Returns:
        (M, C) probabilities, or predicted values for regression.

    Raises:
        ValueError: on no training clips, shapes that disagree, or an unknown task.
    """
    targets = np.asarray(train_targets)
    if targets.ndim != 2 or len(targets) != len(train_features) or not len(targets):
        raise ValueError(
            f"training features {np.shape(train_features)} and targets {targets.shape} must be "
            "(clips, features) and (clips, classes) of the same, non-empty, clips"
        )
    if task == "regression":
        ridge = make_pipeline(StandardScaler(), Ridge())
        return ridge.fit(train_features, targets).predict(test_features).reshape(-1, len(targets.T))
    if task == "single_label":
        return _probabilities(
            train_features, targets.argmax(axis=1), test_features, targets.shape[1]
        )
    if task == "multi_label":
        columns = [
            _probabilities(train_features, (tag > 0.5).astype(int), test_features, 2)[:, 1]
            for tag in targets.T
        ]
        return np.stack(columns, axis=1)
    raise ValueError(f"unknown task '{task}'; choose 'single_label', 'multi_label' or 'regression'")


def _probabilities(
    train_features: np.ndarray, classes: np.ndarray, test_features: np.ndarray, count: int
) -> np.ndarray:
    """Probability (M, count) of each class, 0 for those that training never saw."""
    varied = len(np.unique(classes)) > 1
    # A logistic regression refuses to learn from one class; the prior is then all there is.
    model = LogisticRegression(max_iter=5000) if varied else DummyClassifier(strategy="prior")
    fitted = make_pipeline(StandardScaler(), model).fit(train_features, classes)
    result = np.zeros((len(test_features), count))
    result[:, fitted.classes_] = fitted.predict_proba(test_features)
    return result
