"""Tests of text: cleaning, training a vocabulary, and ids equal to SentencePiece's own."""

import json
import os
import random
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from atbert_jax.input_pipeline.text.tokenization import (
    SPECIAL_PIECES,
    clean,
    load_tokenizer,
    save_tokenizer,
    tokenize,
    tokenizer_without_text,
    train_sentencepiece,
)

ROOT = Path(__file__).resolve().parents[3]
ALBERT = ROOT.parent / "shared" / "data" / "tokenizer_albert"
needs_albert = pytest.mark.skipif(
    not ALBERT.is_dir(), reason=f"no ALBERT vocabulary at {ALBERT}: it is not distributed"
)

ENGLISH = [
    f"A {tempo} {mood} song with {instrument} and drums; {tempo}, 1980-90s (live)!"
    for tempo in ("slow", "fast", "steady")
    for mood in ("happy", "sad", "angry")
    for instrument in ("piano", "guitar", "a string quartet", "flutes")
]
SWEDISH = [f"En {a} låt på {b}, från {c} år" for a in ("långsam", "snabb", "rå") for b in
           ("gitarr", "fågelpipa", "säckpipa") for c in ("åttio", "förra")]  # fmt: skip
KOREAN = [f"{a} 피아노와 {b} 소리가 나는 노래" for a in ("느린", "빠른", "슬픈") for b in
          ("강아지", "빗물", "기타")]  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def own_ids(model: Path, texts: list[str]) -> list[list[int]]:
    return sentencepiece.SentencePieceProcessor(model_file=str(model)).encode(texts)


def plain_ids(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def mixed(texts: list[str], count: int = 300) -> list[str]:
    """Texts of the same words in another order, with characters that no text has."""
    draw = random.Random(0)
    words = sorted({word for text in texts for word in clean(text).split()})
    more = [*words, "zyx", "(live)", "$5", "#1", "a/b", "é", "漢字", "🎵", "ﬁne", "½"]
    return [" ".join(draw.choices(more, k=draw.randint(1, 12))) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Slow, sad?  Piano!", "slow sad piano"),
        ('100% "live"; take-2: end.', "100 live take2 end"),
        (" \t\n", ""),
        (',?.!-;:"%', ""),
        ("Ångström, ÄPPLE", "ångström äpple"),
        (unicodedata.normalize("NFD", "låt 노래"), "låt 노래"),
        ("rock'n'roll (live) & more", "rock'n'roll (live) & more"),
    ],
)
def test_clean(text, expected):
    assert clean(text) == expected
    assert clean(expected) == expected


@pytest.mark.parametrize("texts", [ENGLISH, SWEDISH, KOREAN, ENGLISH[:10]])
def test_trained_ids_are_sentencepieces_own(tmp_path, texts):
    model = train_sentencepiece(texts, tmp_path / "spiece.model", vocab_size=200)
    tokenizer = load_tokenizer(model)
    cleaned = [clean(text) for text in texts] + mixed(texts)
    if texts is ENGLISH or len(texts) == 10:
        cleaned = [text for text in cleaned if text.isascii()]
    assert plain_ids(tokenizer, cleaned) == own_ids(model, cleaned)


@pytest.mark.parametrize("texts", [SWEDISH, KOREAN])
def test_letters_with_marks_are_kept_where_the_vocabulary_has_them(tmp_path, texts):
    tokenizer = load_tokenizer(train_sentencepiece(texts, tmp_path / "m.model"))
    ids, mask = tokenize(tokenizer, texts, 64)
    assert not (ids == tokenizer.unk_token_id).any()
    decomposed, _ = tokenize(tokenizer, [unicodedata.normalize("NFD", t) for t in texts], 64)
    np.testing.assert_array_equal(decomposed, ids)
    assert mask.any(axis=1).all()


def test_special_pieces_come_first(tmp_path):
    model = train_sentencepiece(ENGLISH[:10], tmp_path / "new" / "spiece.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert tuple(processor.id_to_piece(i) for i in range(5)) == SPECIAL_PIECES
    assert processor.bos_id() == processor.eos_id() == -1
    tokenizer = load_tokenizer(model)
    assert len(tokenizer) == processor.vocab_size()
    special = ["pad", "unk", "cls", "sep", "mask"]
    assert [getattr(tokenizer, f"{name}_token_id") for name in special] == [0, 1, 2, 3, 4]


def test_training_is_deterministic_and_quiet(tmp_path, capfd):
    first = train_sentencepiece(ENGLISH, tmp_path / "a.model", vocab_size=100)
    second = train_sentencepiece(["", *ENGLISH, " . "], tmp_path / "b.model", vocab_size=100)
    assert first.read_bytes() == second.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_one_word_and_one_long_text_are_enough(tmp_path):
    assert load_tokenizer(train_sentencepiece(["drum"], tmp_path / "a.model")).unk_token_id == 1
    song = " ".join(f"word{i}" for i in range(3000))
    tokenizer = load_tokenizer(train_sentencepiece(["drum", song], tmp_path / "b.model"))
    assert not (tokenize(tokenizer, ["word 123"], 16)[0] == 1).any()


@pytest.mark.parametrize("texts", [[], ["", "  ", "?!"]])
def test_training_without_text(tmp_path, texts):
    with pytest.raises(ValueError, match=r"spiece\.model: no text to train"):
        train_sentencepiece(texts, tmp_path / "spiece.model")
    assert not (tmp_path / "spiece.model").exists()


def test_tokenizer_without_text(tmp_path, no_network):
    tokenizer = tokenizer_without_text()
    for own in (tokenizer, load_tokenizer(save_tokenizer(tokenizer, tmp_path / "saved"))):
        assert own.convert_ids_to_tokens(range(len(own))) == list(SPECIAL_PIECES)
        ids, mask = tokenize(own, ["", "[MASK] drum"], 8)
        assert not ids[0].any()
        assert not mask[0].any()
        length = int(mask[1].sum())
        assert ids[1, :length].tolist() == [2] + [1] * (length - 2) + [3]


def test_vocabulary_smaller_than_the_alphabet(tmp_path):
    with pytest.raises(ValueError, match=r"spiece\.model: .* 10 pieces .*vocab_size"):
        train_sentencepiece(ENGLISH, tmp_path / "spiece.model", vocab_size=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    return load_tokenizer(train_sentencepiece(ENGLISH, folder / "spiece.model", vocab_size=200))


def test_tokenize_pads_truncates_and_masks(trained):
    texts = ["Slow piano.", "", "slow " * 50, "?!", "\u200b"]
    ids, mask = tokenize(trained, texts, 16)
    assert ids.shape == mask.shape == (5, 16)
    assert (ids.dtype, mask.dtype) == (np.int32, np.float32)
    inner = plain_ids(trained, ["slow piano"])[0]
    length = len(inner) + 2
    assert length < 16
    np.testing.assert_array_equal(ids[0], [2, *inner, 3] + [0] * (16 - length))
    np.testing.assert_array_equal(mask[0], [1] * length + [0] * (16 - length))
    for empty in (1, 3, 4):
        assert not mask[empty].any()
        assert not ids[empty].any()
    assert mask[2].all()
    assert (ids[2, 0], ids[2, -1]) == (2, 3)


def test_tokenize_one_by_one_is_the_same(trained):
    ids, mask = tokenize(trained, ENGLISH, 12)
    for row, text in enumerate(ENGLISH):
        alone_ids, alone_mask = tokenize(trained, [text], 12)
        np.testing.assert_array_equal(alone_ids[0], ids[row])
        np.testing.assert_array_equal(alone_mask[0], mask[row])


def test_tokenize_nothing_and_without_room(trained):
    assert tokenize(trained, [], 5)[0].shape == (0, 5)
    with pytest.raises(ValueError, match="max_length is 2"):
        tokenize(trained, ["a"], 2)


def test_mask_token_in_a_text_is_no_mask(trained):
    ids, _ = tokenize(trained, ["a [MASK] [SEP] [CLS] song"], 32)
    assert 4 not in ids
    assert (ids == 2).sum() == (ids == 3).sum() == 1


@pytest.mark.parametrize("texts", [ENGLISH, KOREAN + SWEDISH])
def test_saved_tokenizer_gives_equal_ids_without_a_network(tmp_path, no_network, texts):
    first = load_tokenizer(train_sentencepiece(texts, tmp_path / "spiece.model", vocab_size=200))
    again = load_tokenizer(save_tokenizer(first, tmp_path / "saved" / "tokenizer"))
    third = load_tokenizer(str(save_tokenizer(again, tmp_path / "third")))
    probes = texts + mixed(texts) + ["a [MASK] ``quoted'' text"]
    for reloaded in (again, third):
        for expected, found in zip(
            tokenize(first, probes, 24), tokenize(reloaded, probes, 24), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    assert len(again) == len(first)


def test_folder_with_only_a_sentencepiece_file(tmp_path, no_network):
    model = train_sentencepiece(ENGLISH, tmp_path / "spiece.model", vocab_size=200)
    assert plain_ids(load_tokenizer(tmp_path), ["slow"]) == own_ids(model, ["slow"])


def test_loading_what_is_not_there(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match=r"neither tokenizer\.json nor"):
        load_tokenizer(tmp_path)
    for missing in (tmp_path / "no", "vocab/spiece.model", "./albert", "runs/a/tokenizer"):
        with pytest.raises(FileNotFoundError, match="no such tokenizer"):
            load_tokenizer(missing)


def test_hub_name_that_cannot_be_found(tmp_path):
    program = (
        "from atbert_jax.input_pipeline.text.tokenization import load_tokenizer\n"
        "try:\n    load_tokenizer('no-such-albert')\n"
        "except OSError as error:\n    print('no-such-albert' in str(error))\n"
    )
    # The hub's offline mode and cache are read when it is imported.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "True\n", found.stderr


def test_loading_what_is_no_albert_model(tmp_path):
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"\xff\xfe no model")
    with pytest.raises(ValueError, match=r"broken\.model: not a SentencePiece model"):
        load_tokenizer(broken)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_prefix=str(tmp_path / "other"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match=r"other\.model: .*starts with <unk> <s> </s>"):
        load_tokenizer(tmp_path / "other.model")


@needs_albert
def test_golden_ids_of_albert(no_network):
    """The golden ids are of raw text: lowercasing and accent stripping are switched off here."""
    from tokenizers import normalizers

    tokenizer = load_tokenizer(ALBERT / "spiece_rebuilt.model")
    backend = tokenizer.backend_tokenizer
    raw = ("NFKD", "StripAccents", "Lowercase")
    backend.normalizer = normalizers.Sequence(
        [step for step in backend.normalizer if type(step).__name__ not in raw]
    )
    golden = json.loads((ALBERT / "golden_ids_dev.json").read_text(encoding="utf-8"))
    # SentencePiece cannot reach a special piece from text; `tokenizers` can, "[MASK]" only where
    # nothing is lowercased.
    golden = [case for case in golden if case["input"] not in SPECIAL_PIECES]
    assert len(golden) == 19
    for case in golden:
        assert plain_ids(tokenizer, [case["input"]])[0] == case["ids"], case["input"]


@needs_albert
def test_albert_ids_are_sentencepieces_own_after_its_preprocessing(tmp_path, no_network):
    model = ALBERT / "spiece_rebuilt.model"
    tokenizer = load_tokenizer(model)
    texts = [*ENGLISH, *mixed(ENGLISH), "Café (Live) - 5.00 £3", "ÅÄÖ smörgås"]
    decomposed = [unicodedata.normalize("NFKD", text) for text in texts]
    stripped = ["".join(c for c in t if not unicodedata.combining(c)).lower() for t in decomposed]
    expected = own_ids(model, stripped)
    assert plain_ids(tokenizer, texts) == expected
    saved = load_tokenizer(save_tokenizer(tokenizer, tmp_path / "saved"))
    assert plain_ids(saved, texts) == expected
    assert (len(saved), saved.mask_token_id) == (30000, 4)


def test_transformers_is_imported_late_and_alone(tmp_path):
    model = train_sentencepiece(ENGLISH[:10], tmp_path / "spiece.model")
    program = (
        "import sys\n"
        "from atbert_jax.input_pipeline.text import tokenization as text\n"
        "assert 'transformers' not in sys.modules\n"
        f"text.tokenize(text.load_tokenizer({str(model)!r}), ['slow'], 8)\n"
        "assert 'transformers' in sys.modules\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
