"""Common Voice: today's tables and old ones, their quotes, splits, speakers and labels."""

import re

import pytest

from atbert_jax import prepare
from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora import common_voice
from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest

HEADER = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents"
    " variant locale segment"
)
ROWS = {
    "ann": "ann 1 Hej. - 2 0 twenties female_feminine Skånska|Småländska",
    "quote": 'bob 2 "Nej,_sa_hon. - 2 0 fourties male_masculine -',
    "null": "cid 3 null general 2 1 - - -",
    "silent": "ann 4 Tyst. - 0 2 twenties female_feminine Skånska",
    "other": 'dan 5 Så_"kan"_det - 0 0 teens do_not_wish_to_say -',
}
SPLITS = {
    "train": ("ann",),
    "dev": ("quote",),
    "test": ("null",),
    "validated": ("ann", "quote", "null"),
    "invalidated": ("silent",),
    "other": ("other",),
}


def line(row):
    client, number, sentence, domain, up, down, age, gender, accents = (
        "" if cell == "-" else cell.replace("_", " ") if place == 2 else cell
        for place, cell in enumerate(row.split(" "))
    )
    name = f"common_voice_sv-SE_{number}.mp3"
    front = [client, name, f"sentence{number}", sentence, domain, up, down, age, gender]
    return "\t".join([*front, accents, "", "sv-SE", ""])


TABLES = {
    f"{split}.tsv": "\n".join([HEADER.replace(" ", "\t"), *(line(ROWS[name]) for name in names)])
    + "\n"
    for split, names in SPLITS.items()
}
TABLES["clip_durations.tsv"] = "clip\tduration[ms]\n" + "".join(
    f"common_voice_sv-SE_{number}.mp3\t{time}\n"
    for number, time in ((1, 2000), (2, 4536), (3, 1500), (4, 0), (5, 3000))
)


@pytest.fixture
def root(lay_out):
    folder = "cv-corpus-24.0-2025-12-05/sv-SE/"
    clips = [f"{folder}clips/common_voice_sv-SE_{number}.mp3" for number in range(1, 6)]
    return lay_out({folder + name: text for name, text in TABLES.items()}, clips)


def test_the_official_splits(root):
    corpus = corpora.read("common_voice", root / "cv-corpus-24.0-2025-12-05/sv-SE")
    rows = corpus.rows
    assert rows["path"].tolist() == [f"clips/common_voice_sv-SE_{n}.mp3" for n in (1, 2, 3)]
    assert rows["split"].tolist() == ["train", "val", "test"]
    assert rows["text"].tolist() == ["Hej.", '"Nej, sa hon.', "null"]
    assert rows["group"].tolist() == ["ann", "bob", "cid"]
    assert rows["duration_s"].tolist() == [2.0, 4.536, 1.5]
    assert rows["sentence_domain"].tolist() == ["", "", "general"]
    assert set(HEADER.split()) - set(rows) == {"client_id", "sentence"}
    assert (corpus.task, corpus.labels) == ("", ())
    assert corpus.deviations[0] == "split 'train' has 1 records, a complete copy has 8192"


def test_all_clips_and_those_without_sound(root):
    corpus = corpora.read("common_voice/gender-all", root / "cv-corpus-24.0-2025-12-05")
    assert corpus.rows["split"].tolist() == ["train", "val", "test", "other"]
    assert corpus.rows["labels"].tolist() == [
        *("female_feminine", "male_masculine", "", "do_not_wish_to_say")
    ]
    assert corpus.labels == ("female_feminine", "male_masculine", "do_not_wish_to_say")
    assert corpus.task == "single_label"
    assert corpus.left_out == {"sv-SE/clips/common_voice_sv-SE_4.mp3": "lasts 0 ms"}


@pytest.mark.parametrize(
    ("variant", "labels"),
    [("age", ("twenties", "fourties")), ("accent", ("Skånska", "Småländska"))],
)
def test_what_speakers_say_of_themselves(root, variant, labels):
    assert corpora.read(f"common_voice/{variant}", root / "cv-corpus-24.0-2025-12-05").labels == (
        labels
    )


def test_the_manifest_keeps_quotes(root, tmp_path):
    folder = root / "cv-corpus-24.0-2025-12-05"
    corpus = corpora.read("common_voice/accent-all", folder)
    prepare.write(corpus, folder, tmp_path / "out")
    records = read_manifest(tmp_path / "out" / "manifest.csv", allow_outside=True)
    assert [r.text for r in records] == ["Hej.", '"Nej, sa hon.', "null", 'Så "kan" det']
    assert records[0].labels == ("Skånska", "Småländska")
    assert records[0].duration is None


def test_an_old_release(lay_out):
    table = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
    names = {"train": "a", "dev": "b", "test": "c"}
    files = {
        f"{split}.tsv": f"{table}ann\t{name}\tHello\t2\t0\t\tmale\tus\n"
        for split, name in names.items()
    }
    root = lay_out(files, [f"clips/{name}.mp3" for name in names.values()])
    corpus = corpora.read("common_voice/accent", root)
    assert corpus.rows["path"].tolist() == ["clips/a.mp3", "clips/b.mp3", "clips/c.mp3"]
    assert corpus.labels == ("us",)
    assert corpora.read("common_voice/gender", root).labels == ("male",)
    assert corpus.deviations == []


def test_a_release_of_several_languages(lay_out):
    root = lay_out({"en/train.tsv": "", "sv-SE/train.tsv": ""})
    with pytest.raises(ManifestError, match=r"has 2 languages; give the folder of one, .*/en"):
        corpora.read("common_voice", root)
    with pytest.raises(ManifestError, match=r"lacks dev\.tsv .*; test\.tsv .*; clips"):
        corpora.read("common_voice", root / "en")


def test_columns_and_counts_as_published(real):
    folder = real("common_voice")
    columns = (folder / "FORMAT.txt").read_text(encoding="utf-8")
    assert HEADER in " ".join(columns.split())
    sheet = (folder / "sv-SE_datasheet_v24.md").read_text(encoding="utf-8")
    counts = re.findall(r"^ ?\| (Train|Dev|Test) \| (\d+) \|", sheet, re.MULTILINE)
    published = common_voice.PUBLISHED["24.0", "sv-SE"]
    assert {common_voice.SPLITS[split.lower()]: int(n) for split, n in counts} == published
