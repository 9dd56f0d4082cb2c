"""Labels by time: where a chunk's column lies, what is written, and what reports show."""

import io

import numpy as np
import pytest
from matplotlib import image
from rich.console import Console

from atbert_jax import predict
from atbert_jax.evaluation import evaluate_run, taggram
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.evaluation.taggram import Taggram
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.training import trained
from tests import tiny

NAMES = ("발라드", "A$AP $x$", *(f"tag {n}" for n in range(20)))


def make(segmenting: Segmenting, duration: float) -> Taggram:
    contract = tiny.make_contract(segmenting=segmenting, labels=Labels("multi_label", NAMES))
    count = segmenting.count(duration, contract.spectrogram.sample_rate)
    scores = np.random.default_rng(0).uniform(0, 0.9, (count, len(NAMES)))
    return taggram.make("a clip", contract, duration, scores, scores.mean(axis=0))


@pytest.mark.parametrize(
    ("segmenting", "edges"),
    [
        # Consecutive windows are drawn where they lie.
        (Segmenting(2, 0.5), [0, 1, 2, 2.6]),
        # Middles at 0.5, 1.0, ..., 2.5; the first and the last are nearest to the ends.
        (Segmenting(1, 1.0, hop=0.5), [0, 0.75, 1.25, 1.75, 2.25, 2.6]),
        # Starts at 0, 0.4, 0.8, 1.2.
        (Segmenting(1, 1.0, chunks=4), [0, 0.7, 1.1, 1.5, 2.6]),
        (Segmenting(3, 0.5, "spaced"), [0, 2.6]),
    ],
)
def test_each_moment_has_the_chunk_whose_middle_is_nearest(segmenting, edges):
    np.testing.assert_allclose(make(segmenting, 2.6).edges, edges, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_the_picture_shows_the_most_probable_labels():
    drawn = make(Segmenting(1, 1.0, hop=0.5), 12.0)
    png = drawn.draw()
    assert image.imread(io.BytesIO(png), format="png").std() > 0.05
    best = np.argsort(-drawn.answer)
    for place, same in ((best[14], False), (best[15], True)):
        scores = drawn.scores.copy()
        scores[3, place] = 0
        assert (Taggram(**{**vars(drawn), "scores": scores}).draw() == png) is same
    # One chunk, and few labels, make a picture as well.
    few = {"names": NAMES[:2], "scores": drawn.scores[:1, :2], "answer": drawn.answer[:2]}
    assert Taggram(**{**vars(drawn), **few, "starts": np.zeros(1)}).draw() != png


def test_predict_writes_one_for_each_file(tone_run, tmp_path):
    model = trained.load(tone_run).chunked(hop=0.1)
    records = dataset.read_splits(model.config.data)[0]["test"][0]
    # The same file again gets a name of its own, and the same answer.
    records = [*records[:3], records[2]]
    answers = list(predict.drawing(Predictor(model).predict(records), model, tmp_path / "pictures"))
    names = ["test0", "test1", "test2", "test2-2"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "npz")
    )
    for name, answer in zip(names, answers, strict=True):
        with np.load(tmp_path / "pictures" / f"{name}.npz") as found:
            assert found["names"].tolist() == ["high", "low"]
            np.testing.assert_allclose(np.diff(found["starts"]), 0.1)
            np.testing.assert_allclose(found["scores"].mean(axis=0), found["answer"], atol=1e-6)
            assert list(answer.fields["probabilities"].values()) == found["answer"].tolist()
    assert answers[3].fields == answers[2].fields
    np.testing.assert_array_equal(answers[3].chunk_scores, answers[2].chunk_scores)


def test_reports_show_clips_of_several_chunks(tone_run, tmp_path):
    evaluate_run.evaluate(
        tone_run, "test", tmp_path, with_baseline=False, console=Console(file=io.StringIO())
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    # Of 0.5, 0.8, 1.3 and 0.5 s, in turn over all splits, with chunks of 0.5 s.
    found = [name for name in ("test0", "test1", "test2", "test3") if f"time: {name}<" in page]
    lengths = [(0.5, 0.8, 1.3)[(6 + number) % 3] for number in range(4)]
    assert found == [f"test{n}" for n in range(4) if lengths[n] > 0.5]


def test_numbers_are_no_labels(tone_run, tmp_path):
    model = trained.load(tone_run)
    object.__setattr__(model, "contract", tiny.make_contract("regression"))
    with pytest.raises(ValueError, match="--taggram draws probabilities of labels, and"):
        next(predict.drawing(iter(()), model, tmp_path))
