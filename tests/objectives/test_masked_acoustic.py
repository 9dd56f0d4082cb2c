"""Masked acoustic modelling: what is masked, how much of it, and the loss in closed form."""

import jax
import numpy as np
import pytest
from flax import nnx

from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.models.encoded import Encoded, with_mean
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.masked_acoustic import (
    MaskedAcoustic,
    channel_span,
    frame_spans,
    patches,
)
from tests import tiny

FEATURES = MusicFeatures(n_chroma=2, n_mfcc=2, n_mels=5, n_cqt_chroma=4)  # 15 columns
FIRST = 6  # of them can be masked as channels
HIDDEN = 4


def real(length: int, total: int) -> np.ndarray:
    return (np.arange(total) < length).astype(np.float32)


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]])))
    return (edges[1::2] - edges[::2]).tolist()


class Trunk:
    """Passes on the first columns of each frame."""

    hidden, modalities = HIDDEN, ("audio",)

    def __init__(self, downsample: int = 1) -> None:
        self.downsample = downsample

    def encode_audio(self, batch, key):
        frames, mask = (batch[name][:, :: self.downsample] for name in ("frames", "frame_mask"))
        return with_mean(Encoded(frames[..., :HIDDEN], mask))

    def fuse(self, audio, text, key):
        return audio


TRUNK = Trunk()


def make(
    features: MusicFeatures = FEATURES, downsample: int = 1, **changes: object
) -> MaskedAcoustic:
    named = {f"masked_acoustic.{name}": value for name, value in changes.items()}
    config = tiny.make_config(**named).masked_acoustic
    contract = tiny.make_contract(features=features)
    trunk = Trunk(downsample)
    return tiny.compiled(
        tiny.make_module(lambda: MaskedAcoustic(config, contract, trunk, rngs=Keys(0)))
    )


def make_batch(*lengths: int, frames: int = 40) -> dict[str, np.ndarray]:
    """Each cell of a row is told from all others, and none is 0."""
    rows, mask = len(lengths), np.arange(frames) < np.array(lengths)[:, None]
    values = 1 + np.arange(rows * frames * FEATURES.size).reshape(rows, frames, FEATURES.size)
    batch = {
        "frames": values * mask[..., None] / values.size,
        "frame_mask": mask,
        "segment_mask": np.ones((rows, 1)),
        "valid": np.ones(rows),
    }
    batch = {name: value.astype(np.float32) for name, value in batch.items()}
    return batch | {"record": np.arange(rows)}


@pytest.mark.parametrize("span", ["geometric", "constant"])
@pytest.mark.parametrize("length", [1, 30, 431, 1500])
def test_runs_of_frames_reach_the_budget_of_distinct_frames(span, length):
    total = 1500
    draw = jax.jit(lambda real, key: frame_spans(real, key, 0.15, span, 7))
    for seed in range(5):
        mask = np.asarray(draw(real(length, total), jax.random.key(seed)))
        assert not mask[length:].any()
        # The last run is whole, so there may be some frames more, never less.
        assert min(0.15 * length, length) <= mask.sum() < 0.15 * length + 7 + 1
        assert mask.any()
        inner = runs(mask)[1:-1]
        assert not inner or min(inner) >= (2 if span == "geometric" else 7)


def test_lengths_of_runs_are_geometric_within_bounds():
    draw = jax.jit(jax.vmap(lambda key: frame_spans(real(200, 200), key, 0.01, "geometric", 3)))
    found = [sum(runs(np.asarray(row))) for row in draw(jax.random.split(jax.random.key(0), 4000))]
    share = np.bincount(found, minlength=8) / len(found)
    p = 1 / 3
    expected = [(1 - p) ** (n - 1) * p for n in range(1, 7)]
    # Of one frame become two; those of seven and more are seven. The budget is 2 frames; a run of
    # which the clip's end leaves one is followed by another.
    np.testing.assert_allclose(share[2], expected[0] + expected[1], atol=0.04)
    np.testing.assert_allclose(share[3:7], expected[2:6], atol=0.03)
    np.testing.assert_allclose(share[7], (1 - p) ** 6, atol=0.03)
    assert share[8:].sum() < 0.01


@pytest.mark.parametrize("length", [5, 200, 1292, 3000])
@pytest.mark.parametrize("side", [1, 7])
def test_patches_reach_the_budget_of_distinct_cells_in_clips_of_any_length(length, side):
    total = max(length, 200)
    draw = tiny.one_program(lambda real, key: patches(real, 324, key, 0.15, side))
    mask = draw(real(length, total), jax.random.key(1))
    assert mask.shape == (total, 324)
    assert not mask[length:].any()
    assert 0.15 * length * 324 <= mask.sum() <= 0.15 * length * 324 + side**2


def test_patches_are_squares_within_the_clip():
    draw = jax.jit(lambda key: patches(real(30, 40), 50, key, 1e-3, 4))
    for seed in range(20):
        mask = np.asarray(draw(jax.random.key(seed)))
        times, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(times) * len(columns) == 16
        assert np.ptp(times) == np.ptp(columns) == 3
        assert times.max() < 30


def test_runs_of_columns_lie_in_the_mel_and_constant_q_columns():
    draw = tiny.one_program(jax.vmap(lambda key: channel_span(52, 324, key)))
    masks = draw(jax.random.split(jax.random.key(0), 3000))
    assert not masks[:, :52].any()
    assert masks[:, 53:320].any(axis=0).all()
    widths = masks.sum(axis=1)
    assert all(len(runs(mask)) <= 1 for mask in masks)
    # The width is uniform up to what is behind a uniform start: half of a half on average.
    assert widths.mean() == pytest.approx(272 / 4, rel=0.05)


def test_a_die_for_each_sequence_says_what_becomes_of_its_cells():
    rows = 600
    batch = make_batch(*[30] * rows)
    found = make(mask="frames").corrupt(batch, jax.random.key(0))
    seen, cells = np.asarray(found["masked_frames"]), np.asarray(found["masked_cells"]) > 0
    frames = np.asarray(batch["frames"])
    np.testing.assert_array_equal(seen[~cells], frames[~cells])
    fates = {"zero": 0, "replaced": 0, "kept": 0}
    for row in range(rows):
        hidden = seen[row][cells[row]]
        if not hidden.any():
            fates["zero"] += 1
        elif (hidden == frames[row][cells[row]]).all():
            fates["kept"] += 1
        else:
            fates["replaced"] += 1
            # Whole frames of the same sequence, none of its padding.
            own = {tuple(frame) for frame in frames[row, :30]}
            assert all(tuple(frame) in own for frame in seen[row, cells[row].all(axis=1)])
    for fate, share in (("zero", 0.8), ("replaced", 0.1), ("kept", 0.1)):
        assert fates[fate] / rows == pytest.approx(share, abs=0.04)


def test_columns_become_0_whatever_the_die_says_and_count():
    batch = make_batch(*[30] * 200)
    found = make(mask="frames_channels").corrupt(batch, jax.random.key(0))
    seen, cells = np.asarray(found["masked_frames"]), np.asarray(found["masked_cells"]) > 0
    whole = cells[:, :30].all(axis=1)
    assert whole.any()
    assert not whole[:, :FIRST].any()
    assert not seen[:, :30][np.broadcast_to(whole[:, None], seen[:, :30].shape)].any()
    assert not cells[:, 30:].any()


def test_draws_follow_the_record_and_rows_that_are_not_valid_have_none():
    batch = make_batch(30, 20, 40)
    objective, key = make(mask="patches", consecutive=3), jax.random.key(0)
    one = objective.corrupt(batch, key)
    other = objective.corrupt({name: rows[::-1] for name, rows in batch.items()}, key)
    np.testing.assert_array_equal(one["masked_cells"], other["masked_cells"][::-1])
    assert not np.array_equal(one["masked_cells"][0], one["masked_cells"][2])
    lost = batch | {
        "valid": np.float32([1, 0, 1]),
        "segment_mask": np.float32([[1], [1], [0]]),
    }
    assert objective.corrupt(lost, key)["masked_cells"].any(axis=(1, 2)).tolist() == [1, 0, 0]


def test_the_loss_is_hubers_on_masked_cells_alone():
    objective, batch = make(mask="frames", consecutive=3), make_batch(30, 20, 40)
    batch |= {"frames": 10 * batch["frames"]}  # errors on both sides of 1
    batch = objective.corrupt(batch, jax.random.key(3))
    (total, weight), metrics = objective.loss(TRUNK, batch, None)
    tell = tiny.one_program(lambda batch: objective._predicted(TRUNK, batch, None))
    told = tell(batch).astype(np.float64)
    cells, error = np.asarray(batch["masked_cells"]), np.abs(told - np.asarray(batch["frames"]))
    huber = np.where(error <= 1, error**2 / 2, error - 0.5)
    assert (error[cells > 0] < 1).any()
    assert (error[cells > 0] > 1).any()
    assert float(total) == pytest.approx((huber * cells).sum(), rel=1e-5)
    assert float(weight) == cells.sum()
    masked, of_all = map(float, metrics["masked"])
    assert (masked, of_all) == (cells.sum(), (30 + 20 + 40) * FEATURES.size)
    # What is not masked has no say, nor has what is behind the end.
    changed = np.where(batch["masked_cells"] > 0, batch["frames"], np.float32(7))
    (again, _), _ = objective.loss(TRUNK, batch | {"frames": changed}, None)
    assert float(again) == float(total)


def test_all_frames_that_are_stacked_into_one_state_are_masked_and_told():
    objective, trunk, batch = make(mask="frames", downsample=3), Trunk(3), make_batch(40)
    batch = objective.corrupt(batch, jax.random.key(3))
    rows = np.asarray(batch["masked_cells"])[0].any(axis=1)
    assert all(rows[place::3].any() for place in range(3))
    told = tiny.one_program(lambda batch: objective._predicted(trunk, batch, None))(batch)
    assert told.shape == batch["frames"].shape
    # 40 frames are 14 states; of the last one, two frames are behind the end.

    @tiny.one_program
    def head(batch):
        states = trunk.encode_audio(batch, None).hidden[0, 1:]
        inner = objective.norm(nnx.gelu(objective.dense(states), approximate=False))
        return objective.output(inner)

    of_states = head(batch | {"frames": batch["masked_frames"]}).reshape(14, 3, FEATURES.size)
    for frame in range(40):
        expected = of_states[frame // 3, frame % 3]
        np.testing.assert_allclose(told[0, frame], expected, atol=1e-5)


def test_a_split_is_summed_up_and_drawn():
    objective, batch = make(mask="frames"), make_batch(30, 20, 40)
    batch = objective.corrupt(batch, jax.random.key(0))
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    outputs = objective.predict(TRUNK, batch)
    summary = objective.summarize(outputs, "mean")
    assert summary["huber"] == pytest.approx(float(total / weight), rel=1e-5)
    values, cells = np.asarray(batch["frames"]), np.asarray(batch["masked_cells"])
    assert summary["mean_huber"] == pytest.approx((values**2 / 2 * cells).sum() / cells.sum(), 1e-4)
    ((table,), _) = objective.report(outputs, summary, "mean")
    assert table.rows == [[int(cells.sum()), summary["huber"], summary["mean_huber"]]]
    pictures = tiny.one_program(objective.pictures, 0)(TRUNK, batch)
    assert {name: x.shape for name, x in pictures.items()} == dict.fromkeys(
        ("original", "masked", "reconstructed"), (3, FEATURES.size, 40)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": "words"}, "mask='words' is none of frames_channels, frames, patches"),
        ({"span": "normal"}, "span='normal' is none of geometric, constant"),
        ({"rate": 1.0}, "rate=1.0 must be between 0 and 1"),
        ({"consecutive": 0}, "consecutive=0 at least 1"),
        ({"features": None}, "use it with --config.data.input=frames"),
    ],
)
def test_what_cannot_be_masked_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
