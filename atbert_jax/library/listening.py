"""Labelling in a terminal: a window is played, and one key says what it is."""

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.library import excerpt
from atbert_jax.library.active_learning import NO, SKIP, YES
from atbert_jax.library.label_session import LabelSession, Offer
from atbert_jax.parallel.stopping import STOPPED

# Of macOS, PipeWire, PulseAudio, ALSA, FFmpeg and SoX; each plays a file and ends.
PLAYERS = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
)
ANSWERS = {"y": YES, "n": NO, "s": SKIP}
AGAIN, UNDO, QUIT = "r", "u", "q"
HELP = "y yes, n no, s skip, r again, u undo, q quit"
END_OF_TEXT = "\x04"  # Ctrl-D
# Without a key, after which none is held down any more; systems repeat one every 0.1 s or faster.
QUIET_SECONDS = 0.15


def find_player(asked: str = "") -> Sequence[str]:
    """The command that plays a file: what is asked for, or one of the system; () if there is none.

    Args:
        asked: A command with its arguments; 'none' plays nothing.

    Raises:
        ValueError: if there is no such command.
    """
    if asked == "none":
        return ()
    if asked:
        words = asked.split()
        if not words or not shutil.which(words[0]):
            raise ValueError(f"--player={asked}: there is no such command; leave it out, or none")
        return words
    return next((words for words in PLAYERS if shutil.which(words[0])), ())


class Player:
    """Plays one sound at a time, in the background; a context, which leaves nothing behind.

    Args:
        words: The command, to which the name of a file is added; () plays nothing.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self._playing: subprocess.Popen | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "window.wav"

    def play(self, sound: bytes) -> None:
        """Plays a WAV file, in the place of what is played."""
        self.stop()
        if not self.words:
            return
        self._file.write_bytes(sound)
        nothing = subprocess.DEVNULL
        self._playing = subprocess.Popen(
            [*self.words, str(self._file)],
            stdin=nothing,  # the keys are not the player's
            stdout=nothing,
            stderr=nothing,
        )

    def stop(self) -> int:
        """Stops what is played; the exit code with which the player had ended, 0 if all is well."""
        process, self._playing = self._playing, None
        if process is None:
            return 0
        if (code := process.poll()) is None:
            process.terminate()
            process.wait()
        return code or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()


@dataclasses.dataclass(frozen=True)
class Keys:
    """What a person types.

    Attributes:
        read: Gives a key, '' at the end of the input.
        forget: Drops what was typed and not read yet, and what a key that is held down goes on to
            type.
    """

    read: Callable[[], str]
    forget: Callable[[], None] = lambda: None


@contextlib.contextmanager
def keys() -> Iterator[Keys]:
    """Reads a key at a time, without Enter.

    Of what is no terminal it reads letters, and forgets none: they were written for what is asked.
    The terminal is put back as it was, also at SIGTERM.
    """
    if not sys.stdin.isatty():
        yield Keys(lambda: sys.stdin.read(1))
        return
    import termios
    import tty

    def leave(*_: object) -> None:
        sys.exit(STOPPED)

    terminal = sys.stdin.fileno()
    before, handler = termios.tcgetattr(terminal), signal.signal(signal.SIGTERM, leave)
    waiting: list[str] = []

    def read() -> str:
        while not waiting:
            typed = os.read(terminal, 64).decode(errors="replace")
            if not typed:
                return ""
            if not typed.startswith("\x1b"):  # arrows and the like are several letters, and no key
                waiting.extend(typed)
        return waiting.pop(0)

    def forget() -> None:
        waiting.clear()
        termios.tcflush(terminal, termios.TCIFLUSH)
        while select.select([terminal], [], [], QUIET_SECONDS)[0]:
            if not os.read(terminal, 64):
                return

    tty.setcbreak(terminal)
    try:
        yield Keys(read, forget)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def label(session: LabelSession, keys: Keys, player: Player, console: Console) -> None:
    """Asks about one window after the other, until a person has enough or everything is said.

    Args:
        session: That is gone on with.
        keys: That a person types; of a window counts what was typed after it was named.
        player: That plays the windows.
        console: Where they are named.

    Raises:
        ValueError: if there is nothing to begin with.
    """
    console.print(HELP)
    while offer := session.offer():
        keys.forget()
        console.print(_line(session, offer))
        _play(player, offer, console)
        while (key := keys.read().lower()) == AGAIN:
            _play(player, offer, console)
        if code := player.stop():
            console.print(f"{player.words[0]} played nothing (exit code {code}); see --player")
            player.words = ()
        if key in ("", QUIT, END_OF_TEXT):
            return
        if key == UNDO:
            console.print("taken back" if session.undo() else "nothing to take back")
        elif key in ANSWERS:
            session.say(offer.window, ANSWERS[key])
            console.print(f"  {ANSWERS[key]}")
        elif key.strip():
            console.print(HELP)
    console.print("nothing is left to hear")


def _line(session: LabelSession, offer: Offer) -> str:
    counts = session.counts
    sure = "" if offer.hit.score != offer.hit.score else f", {offer.hit.score:.2f}"
    return (
        f"[{counts.yes} yes, {counts.no} no] {offer.hit.record.path}"
        f" from {offer.hit.start:.2f} to {offer.end:.2f} s ({offer.reason}{sure})"
    )


def _play(player: Player, offer: Offer, console: Console) -> None:
    if not player.words:
        return
    try:
        player.play(excerpt.wav(offer.record))
    except AudioError as error:
        console.print(f"not played: {error}")
