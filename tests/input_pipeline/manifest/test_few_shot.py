"""Few-shot subsets: exact counts, the same draw wherever it is made, and what training sees."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.manifest import few_shot
from atbert_jax.input_pipeline.manifest.records import ManifestError, Record
from atbert_jax.input_pipeline.text import tokenization


def make(*labels: str, prefix: str = "") -> list[Record]:
    """Records with the labels that a manifest would write as `rock|live`."""
    return [
        Record(f"{prefix}{number}", Path(f"{number}.wav"), labels=tuple(filter(None, x.split("|"))))
        for number, x in enumerate(labels)
    ]


def drawn(records: list[Record], count: int, seed: int = 0) -> list[str]:
    (found,) = few_shot.subset([records], count, seed)
    return [record.id for record in found]


def counts(records: list[Record]) -> Counter:
    return Counter(label for record in records for label in record.labels)


MANY = make(*("low", "high", "", "middle", "high", "low") * 10, "rare", "rare")


@pytest.mark.parametrize("count", [1, 2, 3, 10, 25])
def test_each_label_has_as_many_records_as_asked_for_or_there_are(count):
    (found,) = few_shot.subset([MANY], count, 0)
    there = {"low": 20, "high": 20, "middle": 10, "rare": 2}
    assert counts(found) == {label: min(count, number) for label, number in there.items()}
    assert all(record.labels for record in found)
    assert found == [record for record in MANY if record in found]


def test_a_larger_draw_holds_a_smaller_one_and_a_seed_draws_others():
    draws = [set(drawn(MANY, count)) for count in (1, 2, 5, 10)]
    assert all(small < large for small, large in itertools.pairwise(draws))
    others = [frozenset(drawn(MANY, 5, seed)) for seed in range(5)]
    assert len(set(others)) == 5
    assert set(drawn(MANY, 5)) == others[0]
    firsts = {tuple(drawn(make(*["low"] * 10), 1, seed)) for seed in range(30)}
    assert len(firsts) > 5


def test_a_draw_depends_on_no_other_record():
    longer = [*make(*["other"] * 7, prefix="x"), *reversed(MANY)]
    assert {name for name in drawn(longer, 3) if "x" not in name} == set(drawn(MANY, 3))


def test_rare_tags_are_served_first_and_count_for_the_tags_beside_them():
    assert drawn(make("a|b", "b", "b", "c", ""), 1) == ["0", "3"]
    # Both records of `a` bring a `b`; a third `b` is not needed, two of `c` are.
    assert set(drawn(make("a|b", "b", "b|a", "c", "c", "b"), 2)) == {"0", "2", "3", "4"}


@pytest.mark.parametrize("count", [1, 4, 30])
def test_every_tag_has_at_least_as_many_records_where_there_are(count):
    rng = np.random.default_rng(0)
    tags = [f"tag{number}" for number in range(12)]
    rows = [
        "|".join(t for n, t in enumerate(tags) if rng.random() < 0.6 / (n + 1)) for _ in range(300)
    ]
    records = make(*rows)
    there, (found,) = counts(records), few_shot.subset([records], count, 3)
    assert all(counts(found)[tag] >= min(count, there[tag]) for tag in there)
    # Greedy, so no more than each tag would take alone.
    assert len(found) <= sum(min(count, number) for number in there.values())


def test_several_manifests_share_the_count_and_keep_apart():
    one, other = make(*["low"] * 5, "high"), make(*["low"] * 5)
    parts = few_shot.subset([one, other, []], 4, 0)
    assert [len(part) for part in parts] == [len(parts[0]), 5 - len(parts[0]), 0]
    assert counts([*parts[0], *parts[1]]) == {"low": 4, "high": 1}
    # Records of the same id are drawn as one after the other, the first manifest's first.
    assert [record.id for record in parts[1]] == drawn(other, 2)


def test_training_sees_the_subset_and_nothing_else(
    tmp_path, tone_manifest, tone_config, monkeypatch
):
    captions, measured = [], []
    train = tokenization.train_sentencepiece
    monkeypatch.setattr(
        tokenization, "train_sentencepiece", lambda x, *rest: captions.extend(x) or train(x, *rest)
    )

    def measure(data: dataset.Dataset) -> Normalization:
        measured.extend(data.split("train").records)
        return Normalization("none")

    config = tone_config(tone_manifest(8, 3, 4), **{"data.samples_per_label": 2})
    data = dataset.load(config, tmp_path, measure=measure)
    sizes = {name: len(split.records) for name, split in data.splits.items()}
    assert sizes == {"train": 4, "val": 3, "test": 4}
    split = data.split("train")
    np.testing.assert_array_equal(split.labels.sum(axis=0), [2, 2])
    assert split.token_ids.shape[0] == split.label_mask.sum() == sum(split.sizes) == 4
    assert measured == split.records
    assert captions == [record.text for record in split.records]


@pytest.mark.parametrize(
    ("count", "task"), [(-1, "single_label"), (3, ""), (3, "regression")], ids=str
)
def test_what_has_no_labels_is_refused(tmp_path, tone_config, count, task):
    manifest = tmp_path / "table.csv"
    manifest.write_text("path,valence\na.wav,1\nb.wav,2\nc.wav,3\n", encoding="utf-8")
    config = tone_config(manifest, **{"data.samples_per_label": count, "data.task": task})
    if task == "regression":
        config.data.target_columns = ("valence",)
    if task == "single_label":
        manifest.write_text("path,label\na.wav,x\nb.wav,x\nc.wav,x\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=rf"samples_per_label={count} with .*task='{task}'"):
        dataset.load(config, tmp_path)
