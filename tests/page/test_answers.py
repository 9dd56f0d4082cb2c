"""What a page answers: searches, labels by time, labelling; refusals; and no name is markup."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.evaluation.taggram import Taggram
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.library.label_file import LabelFile
from atbert_jax.library.label_session import LabelSession
from atbert_jax.page import markup
from atbert_jax.page.answers import Answers
from atbert_jax.page.sounds import Sounds
from atbert_jax.page.uploads import Limits, accept
from tests import tones
from tests.page.conftest import HOSTILE, write_sound


@pytest.fixture
def answers(model, index, tmp_path) -> Answers:
    uploads, played = tmp_path / "uploads", tmp_path / "sounds"
    uploads.mkdir()
    played.mkdir()
    session = LabelSession(index, LabelFile(tmp_path / "low.csv"))
    return Answers(model, index, uploads, Sounds(played), Limits(1, 10), session)


def numbers(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'src="sound/(\d+)"', page)]


def require_harmless(page: str) -> None:
    """Nothing of the hostile name is more than text, also where a template is made of it."""
    assert not re.search(r"<(img|script)", page)
    assert not set("${}`") & set(page)
    assert HOSTILE in html.unescape(page)


def test_a_text_finds_what_the_command_finds_and_it_can_be_heard(answers, model, index):
    page = answers.search("a low tone", "a high tone", None)
    hits = index.search(model.query("a low tone", without="a high tone"), 10)
    require_harmless(page)
    shown = [html.unescape(name) for name in re.findall(r"</td><td>([^<]*)<br>", page)]
    assert shown == [hit.record.path.name for hit in hits]
    assert len(numbers(page)) == len(hits) == 3
    heard, rate = soundfile.read(answers.sounds.file(numbers(page)[0]))
    assert rate == tones.TONE_RATE
    whole, _ = soundfile.read(hits[0].record.path)
    begin = round(hits[0].start * rate)
    np.testing.assert_allclose(heard, whole[begin : begin + len(heard)], atol=1e-4)


def test_a_clip_is_found_by_an_upload(answers, index):
    upload = answers.uploads / "query.wav"
    upload.write_bytes(index.records[0].path.read_bytes())
    page = answers.search("", "", str(upload))
    assert index.records[0].path.name in html.unescape(page.partition("<br>")[0])


def test_an_upload_is_heard_by_time_and_by_labels_of_ones_own(answers, model):
    upload = write_sound(answers.uploads / HOSTILE)
    page = answers.listen(str(upload), "a low tone, a high tone,", "{}")
    require_harmless(page)
    found = model.tag(upload, by_time=True)
    assert page.count("<rect") == found.scores.size
    assert f'data-seconds="{found.duration:.3f}"' in page
    assert all(f"<div>{name}</div>" in page for name in found.names)
    assert page.count("<meter") == 2
    heard, rate = soundfile.read(answers.sounds.file(*numbers(page)))
    assert len(heard) == pytest.approx(1.3 * rate, abs=1)


@pytest.mark.parametrize(("labels", "template"), [("low", "{}"), ("low, high", "a tone")])
def test_labels_that_cannot_be_compared_leave_the_taggram(answers, labels, template):
    upload = write_sound(answers.uploads / "whole.wav")
    page = answers.listen(str(upload), labels, template)
    assert "<rect" in page
    assert "<meter" not in page
    assert ">Labels of yours: " in page


def test_cells_of_a_taggram_stand_where_their_chunks_do():
    scores = np.array([[0.01, 0.64], [0.04, 0.36]])
    taggram = Taggram("", ["<a>", "b"], np.array([0.0, 2.0]), 2.0, 4.0, scores, scores.mean(axis=0))
    page = markup.taggram(taggram, 7)
    assert "&lt;a&gt;" in page
    cells = re.findall(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" .*?fill-opacity="(.*?)"', page)
    assert cells == [
        ("0.0", "0", "500.00", "0.800"),  # of the more probable one
        ("500.0", "0", "500.00", "0.600"),
        ("0.0", "22", "500.00", "0.100"),
        ("500.0", "22", "500.00", "0.200"),
    ]


def test_labelling_is_that_of_the_command(answers, tmp_path):
    page, window = answers.begin("", None)
    assert "nothing to begin with" in page
    assert window is None
    page, window = answers.begin("a low tone", None)
    assert "Is this low?" in page
    assert len(numbers(page)) == 1
    asked = []
    for says in ("yes", "no", "skip"):
        asked.append(window)
        page, window = answers.say(window, says)
    assert "low: 1 yes, 1 no, 1 skipped" in page
    assert answers.undo()[1] == asked[-1]
    assert len(read_manifest(tmp_path / "low.csv", allow_outside=True)) == 2
    page, again = answers.say(asked[0], "no")  # of a page that is not up to date
    assert "is not one that waits for an answer" in page
    assert again is None


def test_without_a_manifest_there_is_no_labelling(answers):
    answers.session = None
    assert (
        answers.begin("low", None)
        == answers.undo()
        == (
            markup.note(
                "To label by listening here, start the server with --output, the manifest to write:"
                " atbert serve lib --checkpoint M --output piano.csv"
            ),
            None,
        )
    )


@pytest.mark.parametrize("given", ["../secret.wav", "/etc/passwd", "link.wav", "..", "nowhere.wav"])
def test_no_file_outside_of_the_uploads_is_opened(answers, tmp_path, given, monkeypatch):
    secret = write_sound(tmp_path / "secret.wav")
    (answers.uploads / "link.wav").symlink_to(secret)
    monkeypatch.setattr("atbert_jax.page.uploads.file_duration", lambda *_, **__: 1 / 0)
    path = str(answers.uploads / given)
    for page in (
        answers.search("", "", path),
        answers.listen(path, "", ""),
        answers.begin("", path)[0],
    ):
        assert page == markup.note("this is no file that was uploaded here; choose one again")


def test_what_is_too_large_too_long_or_no_sound_is_refused(answers, tmp_path):
    large = answers.uploads / "large.wav"
    with large.open("wb") as file:
        file.truncate(2 * 2**30)  # takes no room on the disk
    assert "large.wav: has 2048 MB; up to 1 are taken" in answers.listen(str(large), "", "")
    long = write_sound(answers.uploads / "long.wav", 11)
    assert "is 11 s long; up to 10 s" in answers.listen(str(long), "", "")
    bad = answers.uploads / HOSTILE
    bad.write_bytes(b"no sound")
    page = answers.search("", "", str(bad))
    assert "not readable as audio" in page
    assert str(tmp_path) not in page
    require_harmless(page)
    np.save(answers.uploads / "x.npy", np.zeros(10))
    with pytest.raises(ValueError, match="send a file of sound"):
        accept(str(answers.uploads / "x.npy"), answers.uploads, answers.limits)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda a: a.search(" ", "", None), "nothing to search for"),
        (lambda a: a.search("?!", "", None), "reads no word"),
        (lambda a: a.listen(None, "", ""), "choose a file first"),
    ],
)
def test_what_cannot_be_answered_is_told(answers, asked, said):
    assert said in html.unescape(asked(answers))


def test_only_what_was_shown_is_played_and_old_ones_go(answers, index, monkeypatch):
    monkeypatch.setattr("atbert_jax.page.sounds.MOST", 2)
    shown = [answers.sounds.add(index.records[0]) for _ in range(2)]
    first = answers.sounds.file(shown[0])
    assert first.is_file()
    answers.sounds.add(index.records[1])
    assert not first.exists()
    assert answers.sounds.file(shown[0]) is None
    assert answers.sounds.file(99) is None
    assert isinstance(answers.sounds.file(shown[1]), Path)
    monkeypatch.setattr("atbert_jax.page.sounds.SECONDS", 15)
    answers.sounds.add(index.records[1], 10)
    assert answers.sounds.file(shown[1]) is None  # of an hour, here of fifteen seconds
