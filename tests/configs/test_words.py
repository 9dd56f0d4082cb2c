"""Words behind a config's name: in any order, by name where that is needed, and none unknown."""

import pytest

from atbert_jax.configs import words

THINGS = {
    "size": (("tiny", "base"), "base"),
    "data": (("music", "none"), ""),
    "head": (("none",), ""),
}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("", ("base", "", "")),
        ("tiny", ("tiny", "", "")),
        ("music,tiny", ("tiny", "music", "")),
        ("size=tiny,music", ("tiny", "music", "")),
        ("data=none,head=none", ("base", "none", "none")),
    ],
)
def test_words_are_read_in_any_order(given, chosen):
    assert words.read(given, **THINGS) == chosen
    assert words.read_with_own(given, **THINGS) == (chosen, {})


def test_names_of_ones_own_have_values():
    chosen, own = words.read_with_own("genre=label,tiny,av=numbers+valence+arousal", **THINGS)
    assert chosen == ("tiny", "", "")
    assert own == {"genre": ("label",), "av": ("numbers", "valence", "arousal")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tinny", "config word='tinny' is none of tiny, base, .*; did you mean 'tiny'"),
        ("size=huge", "config word size='huge' is none of tiny, base"),
        ("size=", "config word size='' is none of tiny, base"),
        ("genre=label", "config word='genre=' is none of size=, data=, head="),
        ("none", "config word 'none' is data or head; write data=none"),
        ("tiny,size=base", "'tiny,size=base': size cannot be tiny and base"),
        ("tiny,,music", "config word='' is none of tiny"),
    ],
)
def test_what_is_unknown_or_twofold_is_refused(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        words.read(given, **THINGS)
    assert "\n" not in str(caught.value)
