"""Search on a listener made by hand, and on trunks of all kinds against their own objectives."""

import dataclasses
import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from atbert_jax.evaluation import retrieval, retrieval_search
from atbert_jax.evaluation.matching import Stream
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.alignment import summaries
from atbert_jax.parallel import sharding
from atbert_jax.reporting.tables import Sound
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from tests import listener, tiny

PERFECT = {"recall_at_1": 1, "recall_at_5": 1, "recall_at_10": 1, "median_rank": 1, "map": 1}


@pytest.fixture
def tones(tone_manifest):
    """The data of six clips of high and low tones, in the split 'train'; some have two chunks."""

    def load(model):
        model.config.data.manifest = str(tone_manifest(seconds=(0.5, 1.0)))
        model.config.data.threads = 2
        return dataset.load(model.config, None, contract=model.contract, tokenizer=model.tokenizer)

    return load


def measure(model, data, **options):
    console = Console(file=io.StringIO())
    options = {"with_baseline": False} | options
    listen = functools.partial(Sound.of, folder=data.splits["val"].records[0].path.parent)
    return retrieval.measure(model, data, "train", console, listen, **options)


def test_the_pair_head_repairs_what_summaries_do_not_know(tones):
    model = listener.make("correct_pair", "alignment", aware=False)
    values, (table, examples), _, warnings = measure(model, tones(model))
    assert (values["clips"], values["texts"], values["rerank"]) == (6, 2, 32)
    # Captions are 'a low tone' and 'a high tone' in turn: three clips are right for each text.
    to_audio, to_text = values["text_to_audio"], values["audio_to_text"]
    assert to_audio["reranked"] == to_text["reranked"] == PERFECT
    # All cosines are equal, so candidates stay as they stand: low, high, low, high, ...
    places = np.array([[1, 3, 5], [2, 4, 6]])
    assert to_audio["candidates"]["recall_at_1"] == 0.5
    assert to_audio["candidates"]["map"] == pytest.approx((np.arange(1, 4) / places).mean())
    assert to_text["chance"]["recall_at_1"] == to_text["candidates"]["recall_at_1"] == 0.5
    assert to_audio["chance"]["recall_at_1"] == pytest.approx(0.5)
    assert len(table.rows) == 6
    by_text = {row[0]: row[1:] for row in examples.rows}
    found = {(hit.name, hit.source) for hit in by_text["a low tone"][:3]}
    assert found == {(f"✓ train{n}.wav", f"train{n}.wav") for n in (0, 2, 4)}
    assert by_text["a high tone"][-1] == 1
    assert warnings == []
    assert values["map_on_val"] == {"candidates": 0.75, "reranked": 1}


def test_a_pair_head_that_does_not_help_on_val_is_not_asked(tones):
    model = listener.make("correct_pair", "alignment")
    data = tones(model)
    values, _, _, (warning,) = measure(model, data)
    assert values["rerank"] == 0
    assert "reranked" not in values["text_to_audio"]
    assert "on val mAP would be 1.000, and is 1.000 without" in warning
    values, _, _, warnings = measure(model, data, rerank_anyway=True)
    assert (values["rerank"], warnings) == (32, [])
    assert values["text_to_audio"]["reranked"] == PERFECT
    data.splits["val"].token_mask[:] = 0
    values, _, _, (warning,) = measure(model, data)
    assert values["rerank"] == 32
    assert "No record of val" in warning


def test_mfccs_find_tones_by_their_captions(tones):
    model = listener.make("alignment", aware=False)
    values, (table, _), _, _ = measure(model, tones(model), with_baseline=True)
    assert values["text_to_audio"]["mfcc"] == values["audio_to_text"]["mfcc"] == PERFECT
    assert values["text_to_audio"]["candidates"]["map"] < 1
    assert ["audio to text", "MFCC statistics, ridge to the captions' words"] in [
        row[:2] for row in table.rows
    ]


def test_summaries_that_know_need_no_pair_head(tones):
    model = listener.make("alignment")
    values = measure(model, tones(model)).values
    assert values["rerank"] == 0
    for direction in ("text_to_audio", "audio_to_text"):
        assert values[direction].keys() == {"candidates", "chance"}
        assert values[direction]["candidates"] == PERFECT


def test_records_without_a_text_or_a_clip_take_no_part(tones):
    model = listener.make("correct_pair")
    data = tones(model)
    part = data.splits["train"]
    part.token_mask[1] = 0
    part.records[3].path.write_text("no sound")
    values, (_, examples), _, (warning,) = measure(model, data)
    assert "in no trained order" in warning
    assert (values["clips"], values["texts"]) == (4, 2)
    shown = " ".join(str(cell) for row in examples.rows for cell in row[1:-1])
    assert "train1" not in shown
    assert "train3" not in shown
    part.token_mask[:] = 0
    values, tables, _, (warning,) = measure(model, data)
    assert not values
    assert not tables
    assert "no record has both" in warning


def test_reranking_0_is_none_and_less_is_refused(tones):
    model = listener.make("correct_pair", **{"evaluation.rerank": 0})
    data = tones(model)
    values = measure(model, data).values
    assert "reranked" not in values["text_to_audio"]
    model.config.evaluation.rerank = -1
    with pytest.raises(ValueError, match=r"rerank=-1 is negative"):
        measure(model, data)


@pytest.mark.parametrize("depth", [1, 3, 7, 50])
def test_reranking_permutes_the_first_ones_alone(depth):
    rng = np.random.default_rng(depth)
    similarity, scores = rng.normal(size=(2, 5, 7))
    order = retrieval_search.rank(similarity)
    for row, values in zip(order, similarity, strict=True):
        np.testing.assert_array_equal(row, sorted(range(7), key=lambda place: -values[place]))
    anew = retrieval_search.rerank(order, scores, depth)
    np.testing.assert_array_equal(anew[:, depth:], order[:, depth:])
    for before, after, values in zip(order, anew, scores, strict=True):
        wanted = sorted(before[:depth], key=lambda place: -values[place])
        np.testing.assert_array_equal(after[:depth], wanted)


def test_equal_candidates_stay_as_they_stand():
    places = np.arange(1000)
    order = retrieval_search.rank(places[None] % 2)
    assert order.tolist() == [[*places[1::2], *places[::2]]]
    assert retrieval_search.rerank(order, np.zeros((1, 1000)), 800).tolist() == order.tolist()


def test_each_direction_orders_its_own_first_ones_by_known_scores(monkeypatch):
    rng = np.random.default_rng(0)
    table, asked = rng.normal(size=(5, 7)), []

    def score_pairs(model, clips, texts, wanted):
        asked.append(wanted)
        return np.where(wanted, table, np.nan)

    monkeypatch.setattr(retrieval_search, "score_pairs", score_pairs)
    summaries = rng.normal(size=(5 + 7, 3))
    clips = retrieval_search.Clips(np.arange(5), summaries[:5], None, None, np.arange(5))
    orders = retrieval_search.search(None, clips, Stream(None, summaries[5:]), 3)
    cosine = summaries[:5] @ summaries[5:].T
    expected = np.zeros((5, 7), bool)
    for clip, text in np.ndindex(5, 7):
        first_text = (cosine[clip] > cosine[clip, text]).sum() < 3
        first_clip = (cosine[:, text] > cosine[clip, text]).sum() < 3
        expected[clip, text] = first_text or first_clip
    np.testing.assert_array_equal(*asked, expected)
    for direction, values, scores in (
        ("audio_to_text", cosine, table),
        ("text_to_audio", cosine.T, table.T),
    ):
        stages = orders[direction]
        np.testing.assert_array_equal(stages["candidates"], retrieval_search.rank(values))
        known = retrieval_search.rerank(retrieval_search.rank(values), scores, 3)
        np.testing.assert_array_equal(stages["reranked"], known)


ROWS = 6


@functools.cache
def trained(fusion: str):
    """A random model with both objectives, and its batch of six clips with their texts."""
    changes = {"model.fusion": fusion, "evaluation.batch_size": 4}
    config, contract = tiny.make_config(**changes), tiny.make_contract(task="")
    config.objectives.update({"correct_pair": 1.0, "alignment": 1.0})
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    definition, params, statistics = split(learner)
    model = dataclasses.replace(
        listener.make(),
        config=config,
        contract=contract,
        definition=definition,
        params=params,
        statistics=statistics,
        mesh=sharding.make_mesh(),
    )
    return model, tiny.make_batch(ROWS)


def encoded(model, batch, records, monkeypatch):
    """Clips and texts, where each row of the batch is a chunk of one of the records."""
    _, first = np.unique(records, return_index=True)
    part = Split(
        records=[None] * len(first),
        **{name: batch[name][first] for name in retrieval_search.ROWS},
        sizes=(),
        mixture=(),
    )
    monkeypatch.setattr(
        retrieval_search, "_batches", lambda *_: iter([batch | {"record": np.array(records)}])
    )
    clips = retrieval_search.encode_clips(model, None, part, keep_states=True)
    return clips, *retrieval_search.encode_texts(model, part, clips.rows)


@pytest.mark.parametrize("fusion", ["early", "mid", "late"])
def test_scores_and_cosines_are_those_of_the_objectives(fusion, monkeypatch):
    model, batch = trained(fusion)
    clips, texts, _, own = encoded(model, batch, range(ROWS), monkeypatch)

    @jax.jit
    def by_objectives(params, statistics, batch):
        learner = nnx.merge(model.definition, params, statistics)
        prepared = learner.prepare(batch, jax.random.key(0))
        # The mismatched text is the next one's, at the position that the true one has.
        draw = prepared["position_draw"][:, :1].repeat(2, axis=1)
        other = {"negative": (jnp.arange(ROWS) + 1) % ROWS, "position_draw": draw}
        score = learner.objectives["correct_pair"].predict(learner.model, prepared | other)["score"]
        return *summaries(learner.model, prepared, None), score

    audio, text, score = by_objectives(model.params, model.statistics, batch)
    np.testing.assert_allclose(clips.summary, audio, atol=1e-5)
    np.testing.assert_allclose(texts.summary[own], text, atol=1e-5)
    wanted = np.zeros((ROWS, ROWS), bool)
    clip, following = np.arange(ROWS), (np.arange(ROWS) + 1) % ROWS
    wanted[clip, own] = wanted[clip, own[following]] = True
    found = retrieval_search.score_pairs(model, clips, texts, wanted)
    np.testing.assert_allclose(found[clip, own], score[:, 0], atol=1e-5)
    np.testing.assert_allclose(found[clip, own[following]], score[:, 1], atol=1e-5)
    assert not found[~wanted].any()
    assert np.ptp(score) > 0.1


def test_chunks_of_a_clip_count_by_their_mean(monkeypatch):
    model, batch = trained("mid")
    monkeypatch.setattr(retrieval_search, "CHUNKS", 2)
    alone, texts, _, _ = encoded(model, batch, range(ROWS), monkeypatch)
    wanted = np.ones((ROWS, ROWS), bool)
    # Where the head looks follows the record, so it is made the same for all here.
    same = dataclasses.replace(alone, draw=np.full(ROWS, 0.5, np.float32))
    each = retrieval_search.score_pairs(model, same, texts, wanted)
    records = [0, 0, 0, 1, 2, 2]
    clips, _, _, _ = encoded(model, batch, records, monkeypatch)
    assert clips.rows.tolist() == [0, 1, 2]
    assert clips.clip.tolist() == [0, 0, 1, 2, 2]
    mean = np.stack([alone.summary[rows].mean(axis=0) for rows in ([0, 1, 2], [3], [4, 5])])
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(clips.summary, mean, atol=1e-6)
    clips = dataclasses.replace(clips, draw=np.full(5, 0.5, np.float32))
    found = retrieval_search.score_pairs(model, clips, texts, wanted[:3])
    # The third chunk of the first clip is not listened to.
    expected = [each[rows].mean(axis=0) for rows in ([0, 1], [3], [4, 5])]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_texts_that_read_the_same_are_encoded_once():
    model, batch = trained("mid")
    order = np.array([3, 1, 3, 0, 1, 3])
    part = Split(
        [None] * ROWS, *(batch[name][order] for name in retrieval_search.ROWS), sizes=(), mixture=()
    )
    texts, first, own = retrieval_search.encode_texts(model, part, np.arange(ROWS))
    assert isinstance(texts.encoded, Encoded)
    assert len(texts.summary) == len(texts.encoded.mask) == len(first) == 3
    np.testing.assert_array_equal(part.token_ids[first][own], part.token_ids)
    assert sorted(first.tolist()) == [0, 1, 3]
