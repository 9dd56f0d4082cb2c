"""The synthetic set: the same bytes every time, balanced splits, captions that tell the truth."""

import csv
import json
import re

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.synthetic_music.captions import NAMES, PACES, caption
from atbert_jax.input_pipeline.synthetic_music.composition import compose, render
from atbert_jax.input_pipeline.synthetic_music.generate import COLUMNS, generate, main
from atbert_jax.input_pipeline.synthetic_music.genres import GENRES

CLIPS, SECONDS, SAMPLE_RATE, SEED = 48, 1.0, 16000, 3
# Longest name first, so that "electric piano" is not read as "piano".
MEANING = {name.lower(): key for key, names in NAMES.items() for name in names}
NAME = re.compile("|".join(sorted(map(re.escape, MEANING), key=len, reverse=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "set"
    assert generate(folder, CLIPS, SECONDS, SAMPLE_RATE, SEED) == folder / "manifest.csv"
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_smaller_set_is_byte_for_byte_the_beginning_of_a_larger_one(folder, tmp_path):
    generate(tmp_path / "small", 5, SECONDS, SAMPLE_RATE, SEED)
    for index in range(5):
        name = f"audio/{index:05d}.flac"
        assert (tmp_path / "small" / name).read_bytes() == (folder / name).read_bytes()
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()
    small = (tmp_path / "small" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert small == lines[:6]


def test_another_seed_is_other_music():
    first, second = (render(compose(seed, 0), 0.5, SAMPLE_RATE) for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_clips_do_not_repeat(folder, rows):
    assert len({(folder / row["path"]).read_bytes() for row in rows}) == CLIPS


def test_the_manifest_reads_as_records(folder, rows):
    assert tuple(rows[0]) == COLUMNS
    records = read_manifest(folder / "manifest.csv")
    assert [record.path for record in records] == [(folder / row["path"]).resolve() for row in rows]
    assert [record.labels for record in records] == [(row["label"],) for row in rows]
    assert all(row[column] for row in rows for column in COLUMNS)


def test_every_genre_is_in_every_split_and_no_artist_in_two(rows):
    assert {(row["label"], row["split"]) for row in rows} == {
        (genre, split) for genre in GENRES for split in ("train", "val", "test")
    }
    assert len({(row["group"], row["split"]) for row in rows}) == len(
        {row["group"] for row in rows}
    )


def test_the_default_size_is_split_about_70_15_15(tmp_path):
    manifest = generate(tmp_path / "set", 720, 0.5, 8000, SEED)
    splits = [record.split for record in read_manifest(manifest)]
    for split, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        assert splits.count(split) / 720 == pytest.approx(share, abs=0.015)


def test_audio_is_mono_pcm16_of_the_right_length_neither_silent_nor_clipped(folder, rows):
    for row in rows:
        info = soundfile.info(folder / row["path"])
        assert (info.channels, info.samplerate, info.subtype) == (1, SAMPLE_RATE, "PCM_16")
        assert info.frames == round(SECONDS * SAMPLE_RATE)
        waveform, _ = soundfile.read(folder / row["path"])
        assert 0.45 < np.max(np.abs(waveform)) < 0.95
        assert np.sqrt(np.mean(waveform**2)) > 0.02


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100])
def test_other_sample_rates_and_lengths(sample_rate):
    for index in range(8):
        waveform = render(compose(0, index), 0.7, sample_rate)
        assert waveform.shape == (round(0.7 * sample_rate),)
        assert np.all(np.isfinite(waveform))


def test_captions_name_the_instruments_of_the_row_and_no_others():
    for index in range(400):
        piece = compose(SEED, index)
        named = {MEANING[name] for name in NAME.findall(caption(piece).lower())}
        assert piece.lead in named
        assert named <= {piece.lead, piece.accompaniment, piece.drums, "none"}
        assert "none" not in named or piece.drums == "none"


def test_captions_tell_the_truth_about_tempo_mode_register_mood_and_genre():
    moods = {compose(SEED, index).mood for index in range(400)}
    for index in range(400):
        piece = compose(SEED, index)
        text = caption(piece).lower()
        words = set(re.findall(r"[a-z-]+", text))
        paces = {pace for pace, names in PACES.items() if any(name in text for name in names)}
        assert paces <= {piece.pace}
        assert all(int(bpm) == piece.tempo for bpm in re.findall(r"(\d+) bpm", text))
        assert words & {"major", "minor"} <= {piece.mode}
        assert words & {"major-key", "minor-key"} <= {f"{piece.mode}-key"}
        assert words & {"low", "high"} <= {piece.register}
        assert words & moods <= {piece.mood}
        assert {genre for genre in GENRES if genre in text} <= {piece.genre}


def test_captions_are_varied_and_name_the_genre_in_about_half():
    pieces = [compose(SEED, index) for index in range(400)]
    texts = [caption(piece) for piece in pieces]
    assert len(set(texts)) > 390
    share = np.mean([piece.genre in text for piece, text in zip(pieces, texts, strict=True)])
    assert share == pytest.approx(0.5, abs=0.08)


def test_genres_share_instruments_and_some_pieces_lack_drums():
    pieces = [compose(SEED, index) for index in range(400)]
    for lead in {piece.lead for piece in pieces}:
        assert len({piece.genre for piece in pieces if piece.lead == lead}) >= 2
    for genre in GENRES:
        own = [piece for piece in pieces if piece.genre == genre]
        assert len({piece.lead for piece in own}) >= 3
        assert any(piece.drums == "none" for piece in own)


def test_the_beat_of_a_drum_pattern_is_heard_at_the_tempo():
    librosa = pytest.importorskip("librosa")
    piece = next(
        piece
        for piece in (compose(0, index) for index in range(0, 800, len(GENRES)))
        if piece.drums == "drum machine"
    )
    waveform = render(piece, 8.0, SAMPLE_RATE).astype(np.float32)
    tempo = librosa.feature.tempo(y=waveform, sr=SAMPLE_RATE, start_bpm=piece.tempo)[0]
    assert tempo == pytest.approx(piece.tempo, rel=0.06)


def test_a_finished_set_is_left_and_an_interrupted_one_completed(folder, tmp_path, capsys):
    target = tmp_path / "set"
    arguments = (target, 3, SECONDS, SAMPLE_RATE, SEED)
    generate(*arguments)
    clip = target / "audio" / "00001.flac"
    before = clip.stat().st_mtime_ns
    capsys.readouterr()
    generate(*arguments)
    assert clip.stat().st_mtime_ns == before
    assert "already holds these 3 clips" in " ".join(capsys.readouterr().err.split())
    clip.unlink()
    (target / "manifest.csv").unlink()
    generate(*arguments)
    assert clip.read_bytes() == (folder / "audio" / "00001.flac").read_bytes()
    assert (target / "manifest.csv").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty and holds no synthetic set"):
        generate(tmp_path, 1, SECONDS, SAMPLE_RATE, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_set_with_other_parameters_is_refused(tmp_path):
    generate(tmp_path / "set", 1, SECONDS, SAMPLE_RATE, 0)
    with pytest.raises(FileExistsError, match="another synthetic set"):
        generate(tmp_path / "set", 1, SECONDS, SAMPLE_RATE, 1)
    assert json.loads((tmp_path / "set" / "synthetic.json").read_text())["seed"] == 0


@pytest.mark.parametrize(
    ("flag", "value"), [("clips", "0"), ("seconds", "nan"), ("sample_rate", "10"), ("seed", "-1")]
)
def test_the_command_names_the_bad_parameter_and_writes_nothing(tmp_path, flag, value):
    with pytest.raises(SystemExit, match=f"error: {flag} is "):
        main(["--output", str(tmp_path / "set"), f"--{flag}={value}"])
    assert not (tmp_path / "set").exists()
