"""Names are checked in one place, whose message is one line with the field and the choices."""

import pytest

from atbert_jax import choices

KNOWN = {"mean": 1, "max": 2, "vote": 3}


class SpecialError(ValueError):
    """One of its own."""


def test_what_is_known_is_given_back():
    assert choices.require("how", "max", KNOWN) == "max"
    assert choices.require_some("how", ["vote", "mean"], KNOWN) == ("vote", "mean")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("meen", "how='meen' is none of mean, max, vote; did you mean 'mean'?"),
        ("zzz", "how='zzz' is none of mean, max, vote"),
        ("", "how='' is none of mean, max, vote"),
        (None, "how=None is none of mean, max, vote"),
    ],
)
def test_what_is_not_is_refused_with_the_choices_and_the_nearest(given, message):
    with pytest.raises(SpecialError) as caught:
        choices.require("how", given, KNOWN, SpecialError)
    assert str(caught.value) == message


def test_an_empty_choice_can_be_seen():
    with pytest.raises(ValueError, match="task='labels' is none of '', label"):
        choices.require("task", "labels", ("", "label"))


@pytest.mark.parametrize(
    ("given", "message"),
    [((), "how is empty; name some of mean, max, vote"), (("max", "x"), "how='x' is none of mean")],
)
def test_of_several_none_may_be_unknown_and_one_is_needed(given, message):
    with pytest.raises(ValueError, match=message):
        choices.require_some("how", given, KNOWN)
