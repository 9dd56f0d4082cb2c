"""Keys say what windows are; what cannot be played is named, and the terminal is put back."""

import io
import os
import pty
import sys
import termios

import numpy as np
import pytest
import soundfile
from rich.console import Console

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library import excerpt, listening
from atbert_jax.library.label_file import LabelFile
from atbert_jax.library.label_session import LabelSession
from atbert_jax.library.listening import Keys, Player
from tests.music_library import index_vectors
from tests.tones import TONE_RATE

QUERY = np.array([1.0, 0, 0])


@pytest.fixture
def session(tmp_path) -> LabelSession:
    """Of three recordings of two windows, which no player can play."""
    rng = np.random.default_rng(0)
    index = index_vectors(tmp_path, {f"[b]{n}.wav": rng.normal(size=(2, 3)) for n in range(3)})
    return LabelSession(index, LabelFile(tmp_path / "low.csv"), QUERY)


def typed(session, keys: str, words=()) -> str:
    said, letters = io.StringIO(), iter(keys)
    with Player(words) as player:
        console = Console(file=said, markup=False, width=500)
        listening.label(session, Keys(lambda: next(letters, "")), player, console)
    return said.getvalue()


def test_each_key_does_what_it_says(session):
    said = typed(session, "Ynsuxq")
    counts = session.counts
    assert (counts.yes, counts.no, counts.skipped) == (1, 1, 0)
    lines = said.splitlines()
    assert lines[0] == listening.HELP
    assert lines.count(listening.HELP) == 2  # x is no key
    assert "taken back" in lines
    assert "[0 yes, 0 no]" in lines[1]
    assert "(near to the query)" in lines[1]
    assert "[1 yes, 1 no]" in lines[5]
    assert "(most sure, 0." in lines[5]
    assert "[b]" in said


def test_it_ends_where_all_is_said_or_nothing_more_is_typed(session):
    typed(session, "y\n \n")
    assert session.counts.yes == 1
    assert typed(session, "y" * 9).endswith("nothing is left to hear\n")
    assert session.counts.yes == 6
    session.undo()
    assert typed(session, "u" * 9 + "\x04").count("nothing to take back") == 4


def test_what_cannot_be_played_is_said_once_for_each(session):
    said = typed(session, "yq", ["true"])
    assert said.count("not played: ") == 2
    assert "not readable as audio" in said


def test_a_player_gets_the_window_and_one_that_fails_is_not_asked_again(
    session, tmp_path, monkeypatch
):
    monkeypatch.setattr(excerpt, "wav", lambda record: b"sound of the window")
    copy = ["sh", "-c", f'cp "$0" {tmp_path / "heard"}']
    letters = iter("rq")
    with Player(copy) as player:

        def read() -> str:
            player._playing.wait()
            assert (tmp_path / "heard").read_bytes() == b"sound of the window"
            (tmp_path / "heard").unlink()
            return next(letters)

        listening.label(session, Keys(read), player, Console(file=io.StringIO()))
        folder = player._file.parent
    assert not folder.exists()
    with Player(["false"]) as player:

        def wait() -> str:
            if player._playing:
                player._playing.wait()
            return "s" if session.counts.skipped < 2 else "q"

        said = io.StringIO()
        listening.label(session, Keys(wait), player, Console(file=said, width=200))
    assert said.getvalue().count("false played nothing (exit code 1)") == 1


def test_a_player_is_found(monkeypatch):
    monkeypatch.setattr(
        listening.shutil, "which", lambda name: name if name in ("aplay", "play") else None
    )
    assert listening.find_player() == ("aplay", "-q")
    assert listening.find_player("none") == ()
    assert listening.find_player("play -q") == ["play", "-q"]
    with pytest.raises(ValueError, match="--player=mplayer: there is no such command"):
        listening.find_player("mplayer")
    monkeypatch.setattr(listening.shutil, "which", lambda name: None)
    assert listening.find_player() == ()


def test_an_excerpt_is_the_sound_of_the_window(tmp_path):
    sound = np.linspace(-0.5, 0.5, 3 * TONE_RATE)
    soundfile.write(tmp_path / "a.wav", sound, TONE_RATE, subtype="FLOAT")
    found, rate = soundfile.read(
        io.BytesIO(excerpt.wav(Record("a", tmp_path / "a.wav", start=1.0, duration=0.5)))
    )
    assert rate == TONE_RATE
    np.testing.assert_allclose(found, sound[rate : rate + rate // 2], atol=1e-4)
    np.save(tmp_path / "a.npy", sound)
    with pytest.raises(AudioError, match="does not say its rate"):
        excerpt.wav(Record("a", tmp_path / "a.npy"))


def test_keys_of_a_terminal_come_without_enter_and_it_is_put_back(monkeypatch):
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with os.fdopen(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with listening.keys() as keys:
            assert not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)
            os.write(controller, b"yn")
            assert [keys.read(), keys.read()] == ["y", "n"]
            typed = iter([b"\x1b[A", b"s"])  # an arrow is no key
            monkeypatch.setattr(listening.os, "read", lambda *_: next(typed))
            assert keys.read() == "s"
        assert termios.tcgetattr(terminal) == before
        with pytest.raises(SystemExit), listening.keys():
            os.kill(os.getpid(), listening.signal.SIGTERM)
        assert termios.tcgetattr(terminal) == before
    os.close(controller)


def test_keys_of_a_terminal_count_for_the_window_that_is_heard(session, monkeypatch):
    controller, terminal = pty.openpty()
    offer, offers = session.offer, []

    def offering():
        offers.append(offer())
        os.write(controller, b"yyyy")  # typed before the window is named
        return offers[-1]

    class Typing(io.StringIO):
        """Types a no, and another one at once, as soon as a window is named."""

        def write(self, text: str) -> int:
            if "[" in text:
                os.write(controller, b"nn" if len(offers) < 3 else b"q")
            return super().write(text)

    monkeypatch.setattr(session, "offer", offering)
    with os.fdopen(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with listening.keys() as keys, Player(()) as player:
            listening.label(session, keys, player, Console(file=Typing(), width=500))
    os.close(controller)
    assert len(offers) == 3
    assert (session.counts.yes, session.counts.no) == (0, 2)


def test_letters_of_a_pipe_all_count(session, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("ynsq"))
    with listening.keys() as keys, Player(()) as player:
        listening.label(session, keys, player, Console(file=io.StringIO()))
    assert (session.counts.yes, session.counts.no, session.counts.skipped) == (1, 1, 1)
