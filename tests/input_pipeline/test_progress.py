"""Tests of progress: lines with a rate and the time left, a bar on a terminal."""

import io
import types

import pytest
from rich.console import Console

from atbert_jax.input_pipeline import progress
from atbert_jax.input_pipeline.progress import Meter, Terminal, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(
        progress, "time", types.SimpleNamespace(monotonic=lambda: now.seconds), raising=True
    )
    return now


def console() -> Console:
    return Console(file=io.StringIO(), width=40)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_a_line_every_ten_seconds_and_at_the_end(clock):
    out = console()
    with Meter("training", 400, "steps", console=out) as meter:
        for step in range(1, 401):
            clock.seconds += 0.1
            meter.advance(note=f"loss {step / 1000:.3f}" if step % 2 == 0 else "")
    found = lines(out)
    assert len(found) == 4
    assert found[0] == "training: 101/400 steps, 10.00/s, 0:29 left  loss 0.100"
    assert found[-1] == "training: 400/400 steps, 10.00/s, 0:00 left  loss 0.400"


def test_the_rate_counts_from_where_it_went_on(clock):
    out = console()
    with Meter("training", 1000, "steps", done=900, console=out) as meter:
        clock.seconds += 11
        meter.advance(22)
        clock.seconds += 1
    assert lines(out)[0] == "training: 922/1000 steps, 2.00/s, 0:39 left"


def test_what_takes_long_is_counted_in_seconds_each(clock):
    out = console()
    with Meter("runs", 4, "runs", done=1, console=out) as meter:
        clock.seconds += 90
        meter.advance(note="seed=0")
        clock.seconds += 90
        meter.advance()
    assert lines(out)[0] == "runs: 2/4 runs, 90 s each, 3:00 left  seed=0"


def test_nothing_done_and_nothing_to_do(clock):
    out = console()
    with Meter("reading", 5, "files", console=out):
        clock.seconds += 1
    assert lines(out) == ["reading: 0/5 files, 0.00/s, 0:00 left"]


def test_an_error_is_not_followed_by_a_line(clock):
    out = console()

    def interrupted():
        yield 1
        raise KeyboardInterrupt

    def read():
        with Meter("reading", 5, "files", console=out) as meter:
            for _ in interrupted():
                meter.advance()

    with pytest.raises(KeyboardInterrupt):
        read()
    assert lines(out) == []


def test_a_bar_on_a_terminal():
    out = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Meter("training", 3, "steps", console=out) as meter:
        for _ in range(3):
            meter.advance(note="loss 0.5")
    text = out.file.getvalue()
    for part in ("training", "3/3", "steps/s", "left", "loss 0.5"):
        assert part in text


def test_track_gives_every_item(capsys):
    assert list(track(iter("abc"), "reading", 3, "files")) == ["a", "b", "c"]
    assert "reading: 3/3 files" in capsys.readouterr().out


NAME = "live [/disc] 2\x1b[2J\u202e.wav"
SHOWN = "live [/disc] 2\\x1b[2J\\u202e.wav"


def test_a_terminal_takes_no_name_for_markup():
    out = Terminal(file=io.StringIO(), width=30)
    out.print(f"left out: {NAME}: [red]no sound[/red] :smile: and then some more words")
    assert lines(out) == [
        f"left out: {SHOWN}: [red]no sound[/red] :smile: and then some more words"
    ]
    out.rule(NAME)
    assert SHOWN in out.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_names_in_progress(terminal):
    out = Terminal(file=io.StringIO(), force_terminal=terminal, width=200)
    with Meter(f"on {NAME}", 1, "files", console=out) as meter:
        meter.advance(note=NAME)
    said = out.file.getvalue()
    assert f"on {SHOWN}" in said
    assert SHOWN in said.partition("left")[2]
    assert "\u202e" not in said
    assert "\x1b[2J" not in said
