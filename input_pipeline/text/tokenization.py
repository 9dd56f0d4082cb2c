"""Text to token ids: cleaning, training a SentencePiece vocabulary, and loading tokenizers."""

from __future__ import annotations

import io
import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atbert_jax.input_pipeline.text import byte_level, whole_file, wordpiece

if TYPE_CHECKING:
    from transformers import AlbertTokenizer, PreTrainedTokenizerBase

SPECIAL_PIECES = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY_FILE = "spiece.model"
TOKENIZER_FILES = (wordpiece.TOKENIZER_FILE, VOCABULARY_FILE, wordpiece.VOCABULARY_FILE)
HUB_FILES = [*TOKENIZER_FILES, wordpiece.SETTINGS_FILE]

_DELETED = str.maketrans("", "", ',?.!-;:"%')
# SentencePiece drops longer texts without a word; its own default is shorter than some lyrics.
_MAX_TEXT_BYTES = 1 << 20
# Of the words and their parts that a vocabulary is chosen from.
_SEED_WORDS, _SEED_LENGTH, _SEEDS = 50_000, 16, 1_000_000


# The defaults of `config.text`.
DEFAULTS = {
    # File, folder or hub name; empty: that of init.text, or one trained on the manifest.
    "tokenizer": "",
    "vocabulary": 8000,  # of a tokenizer that is trained here
    "max_tokens": 32,  # longer texts are cut, [CLS] and [SEP] included
}


def clean(text: str) -> str:
    """Apply ATBERT's text rule: delete `, ? . ! - ; : " %`, lowercase, collapse whitespace.

    The reference also appends one space, which the tokenizer drops again. Composing (Unicode NFC)
    comes first, so that an accented letter is one character however it was typed.

    Args:
        text: any text.

    Returns:
        The cleaned text, empty if nothing is left.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.translate(_DELETED).lower().split())


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that are no words: [CLS] and its like, and places that BERT's vocabularies keep free."""
    unused = (i for piece, i in tokenizer.get_vocab().items() if wordpiece.UNUSED.fullmatch(piece))
    return tuple(sorted({*tokenizer.all_special_ids, *unused}))


def train_sentencepiece(
    texts: Iterable[str], model_path: str | Path, vocab_size: int = 8000
) -> Path:
    """Train a unigram SentencePiece model with ALBERT's special pieces.

    Ids 0 to 4 are `<pad> <unk> [CLS] [SEP] [MASK]`. Texts are cleaned first (`clean`) and empty
    ones dropped. The same texts in the same order give the same file.

    Args:
        texts: the training captions.
        model_path: where to write the model, by convention `.../spiece.model`.
        vocab_size: largest number of pieces; a small corpus gives fewer.

    Returns:
        The path of the written model.

    Raises:
        ValueError: there is no text, or `vocab_size` is too small for the characters of the texts.
    """
    import sentencepiece
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    cleaned = [text for text in map(clean, texts) if text]
    if not cleaned:
        raise ValueError(
            f"{model_path}: no text to train a vocabulary on, every text is empty; "
            "give the manifest a text column with captions or use an existing tokenizer"
        )
    model = io.BytesIO()
    drafts = tempfile.TemporaryDirectory()
    seeds = Path(drafts.name) / "seeds.tsv"
    _write_seeds(cleaned, seeds)
    try:
        sentencepiece.SentencePieceTrainer.train(
            seed_sentencepieces_file=str(seeds),
            sentence_iterator=iter(cleaned),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=0.99995,  # ALBERT's; every character of a small corpus is kept
            max_sentence_length=_MAX_TEXT_BYTES,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=SPECIAL_PIECES[0],
            unk_piece=SPECIAL_PIECES[1],
            control_symbols=list(SPECIAL_PIECES[2:]),
            num_threads=1,  # the order of float sums, hence the pieces, depends on the threads
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"{model_path}: SentencePiece cannot build {vocab_size} pieces from {len(cleaned)} "
            f"texts: {str(error).rsplit('] ', 1)[-1].strip() or error}"
        ) from error
    finally:
        drafts.cleanup()
    path = Path(model_path)
    proto = ModelProto.FromString(model.getvalue())
    proto.DiscardUnknownFields()  # such as where the seeds were, which is nobody's business
    whole_file.write(path, proto.SerializeToString(deterministic=True))
    return path


def _write_seeds(texts: list[str], path: Path) -> None:
    """Writes the candidates for pieces: every part of a word, by how often it is heard.

    SentencePiece itself counts each distinct word once, so that in a few hundred captions it finds
    no word whole, and spells out the commonest.
    """
    words = Counter(word for text in texts for word in text.split())
    weight: Counter[str] = Counter()
    for word, count in words.most_common(_SEED_WORDS):
        marked = "\u2581" + word
        for start in range(len(marked)):
            for end in range(start + 1, min(len(marked), start + _SEED_LENGTH) + 1):
                weight[marked[start:end]] += count
    rows = sorted(((len(piece) * count, piece) for piece, count in weight.items()), reverse=True)
    lines = (f"{piece}\t{score}\n" for score, piece in rows[:_SEEDS])
    path.write_text("".join(lines), encoding="utf-8")


def tokenizer_without_text() -> AlbertTokenizer:
    """Make a tokenizer of the special pieces alone, for data that has no text to learn from.

    Its vocabulary is `SPECIAL_PIECES`; every word of a text is `<unk>`.
    """
    pieces = [(piece, 0.0) for piece in SPECIAL_PIECES]
    return _albert_class()(vocab=pieces, split_special_tokens=True)


def load_tokenizer(name_or_path: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of an ALBERT, BERT or RoBERTa from a file, a local folder or a hub name.

    Only a name that is no local path is looked up on the Hugging Face hub.

    Args:
        name_or_path: a SentencePiece `*.model`, a WordPiece `vocab.txt`, a folder with one of
            `TOKENIZER_FILES`, or a name such as `albert-base-v2`.

    Returns:
        The tokenizer; `[MASK]` written out in a text is plain characters. That of an ALBERT
        lowercases, that of a BERT if it says so, that of a RoBERTa never.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without tokenizer files.
        ValueError: the file is not a unigram SentencePiece model with ALBERT's special pieces, nor
            a WordPiece vocabulary with BERT's; or it is damaged.
        OSError: the hub does not have the name or cannot be reached.
    """
    path = Path(name_or_path)
    if path.is_file():
        return wordpiece.load(path) if path.suffix == ".txt" else _from_sentencepiece(path)
    if path.is_dir():
        return _from_folder(path)
    name = str(name_or_path)
    looks_local = name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name
    if looks_local or path.suffix in (".model", ".json", ".txt"):
        raise FileNotFoundError(
            f"{name}: no such tokenizer file or folder; check the path, or give a hub name "
            "such as albert-base-v2"
        )
    from huggingface_hub import snapshot_download

    try:
        return _from_folder(Path(snapshot_download(name, allow_patterns=HUB_FILES)))
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name}: no such file or folder, and no tokenizer of this name to be had from the hub "
            f"({str(error).splitlines()[0]}); check the name and the network, or give a local path"
        ) from error


def _from_folder(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return _from_files(folder)
    except OSError:
        raise
    except Exception as error:  # whatever transformers, and its parser in Rust, make of damage
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        files = ", ".join(file.name for file in sorted(folder.glob("*")) if file.name in HUB_FILES)
        raise ValueError(
            f"{folder}: no tokenizer can be read from {files} ({reason}); copy them again from"
            " where they came from"
        ) from error


def _from_files(folder: Path) -> PreTrainedTokenizerBase:
    stored = folder / wordpiece.TOKENIZER_FILE
    if stored.is_file() and byte_level.is_file_of_byte_level(stored):
        return byte_level.load(folder)
    if stored.is_file() and not wordpiece.is_file_of_wordpiece(stored):
        tokenizer = _albert_class().from_pretrained(
            str(folder), local_files_only=True, split_special_tokens=True
        )
        for name in ("is_local", "local_files_only"):  # else it is saved with how it was loaded
            tokenizer.init_kwargs.pop(name, None)
        return tokenizer
    if (folder / VOCABULARY_FILE).is_file():
        return _from_sentencepiece(folder / VOCABULARY_FILE)
    if stored.is_file() or (folder / wordpiece.VOCABULARY_FILE).is_file():
        return wordpiece.load(folder)
    raise FileNotFoundError(
        f"{folder}: neither {' nor '.join(TOKENIZER_FILES)} in this folder; "
        "point to a folder written by save_tokenizer or to a tokenizer's file"
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Path:
    """Write the tokenizer files to a folder that `load_tokenizer` reads without a network.

    Each is there whole or not at all, and one that is there already stays as it is.

    Args:
        tokenizer: what `load_tokenizer` returned.
        folder: made if it does not exist.

    Returns:
        The folder.
    """
    with tempfile.TemporaryDirectory() as draft:
        tokenizer.save_pretrained(draft)
        for file in sorted(Path(draft).iterdir()):
            whole_file.write(Path(folder) / file.name, file.read_bytes())
    return Path(folder)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Turn texts into `[CLS] ... [SEP]` ids of one length.

    For SentencePiece they are cleaned first (`clean`), for WordPiece and byte-level BPE stripped of
    outer whitespace. `[CLS]` and `[SEP]` of the last are `<s>` and `</s>`.

    Args:
        tokenizer: what `load_tokenizer` returned.
        texts: N texts; one with nothing left is a missing text.
        max_length: L, at least 3; longer texts lose their end and keep `[SEP]`.

    Returns:
        token_ids: (N, L) int32, padded with the tokenizer's own padding.
        token_mask: (N, L) float32, 1 on tokens and 0 on padding; all 0 for a missing text.

    Raises:
        ValueError: `max_length` has no room for a token between `[CLS]` and `[SEP]`.
    """
    if max_length < 3:
        raise ValueError(f"max_length is {max_length}: [CLS], a token and [SEP] need at least 3")
    token_ids = np.full((len(texts), max_length), tokenizer.pad_token_id, np.int32)
    token_mask = np.zeros((len(texts), max_length), np.float32)
    if not len(texts):
        return token_ids, token_mask
    # These vocabularies have punctuation, and their tokenizers know whether they lowercase.
    as_it_is = wordpiece.is_wordpiece(tokenizer) or byte_level.is_byte_level(tokenizer)
    prepare = str.strip if as_it_is else clean
    encoded = tokenizer(
        [prepare(text) for text in texts],
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    for row, ids in enumerate(encoded):
        # Two ids are [CLS] and [SEP] around nothing: no text, a missing modality.
        if len(ids) > 2:
            token_ids[row, : len(ids)] = ids
            token_mask[row, : len(ids)] = 1.0
    return token_ids, token_mask


def _albert_class() -> type[AlbertTokenizer]:
    """Import transformers only where a tokenizer is needed: it takes more than a second."""
    # Without PyTorch the import prints advice about models, and no model of theirs is used here.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AlbertTokenizer

    return AlbertTokenizer


def _from_sentencepiece(path: Path) -> AlbertTokenizer:
    """Build the tokenizer from the pieces of a SentencePiece file.

    `AlbertTokenizer.from_pretrained` registers SentencePiece's user-defined symbols (ALBERT's
    brackets, dot and dash) as added tokens, which cut words and put a space after each: "5.00"
    then gets other ids than SentencePiece gives. Passing the pieces themselves avoids that.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:
        raise ValueError(
            f"{path}: not a SentencePiece model ({error}); give the spiece.model of an ALBERT "
            "checkpoint or one written by train_sentencepiece"
        ) from error
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    first = tuple(piece for piece, _ in pieces[: len(SPECIAL_PIECES)])
    if first != SPECIAL_PIECES or proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ValueError(
            f"{path}: not a unigram SentencePiece model that starts with the pieces "
            f"{' '.join(SPECIAL_PIECES)} (it starts with {' '.join(first)}); give the spiece.model "
            "of an ALBERT checkpoint or one written by train_sentencepiece"
        )
    return _albert_class()(
        vocab=pieces,
        # ALBERT's English vocabulary was learnt from text without accents; one learnt from
        # Swedish or Korean has pieces that stripping would make unreachable.
        keep_accents=any(_has_marks(piece) for piece, _ in pieces),
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap or None,
        split_special_tokens=True,
    )


def _has_marks(piece: str) -> bool:
    """Say whether decomposing (NFKD) changes a piece: accented letters and Hangul syllables."""
    return not piece.isascii() and unicodedata.normalize("NFKD", piece) != piece
