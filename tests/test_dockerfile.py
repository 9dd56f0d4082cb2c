"""The Dockerfile copies what there is, and its context holds no more than that."""

import re

from tests.documents import ROOT, text_of

TEXT = text_of(ROOT / "Dockerfile")


def test_what_is_copied_is_there_and_in_the_context():
    sources = {
        source
        for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    }
    lines = text_of(ROOT / ".dockerignore").splitlines()
    assert sources == {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / source).exists() for source in sources)
    # The package's links lead to what is copied, too.
    links = [path for path in (ROOT / "atbert_jax").iterdir() if path.is_symlink()]
    assert {link.resolve().name for link in links} <= sources


def test_nothing_that_is_named_is_without_a_value():
    assert re.findall(r"^ARG (\w+)=(\w+)$", TEXT, re.MULTILINE) == [("DEVICE", "cpu")]
    assert {"cpu) ;;", "cuda)"} <= set(re.findall(r"^ {8}(cpu\) ;;|cuda\))", TEXT, re.MULTILINE))
    assert TEXT.rstrip().endswith('ENTRYPOINT ["atbert"]\nCMD ["--help"]')
