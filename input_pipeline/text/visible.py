"""Names from outside as people can see them: nothing in them acts on a terminal or a page.

A name of a file, a label or a caption can hold anything: escape sequences that move the cursor,
marks that turn the direction of reading (Boucher and Anderson, "Trojan Source", 2021), letters of
no width, and bytes that are no text in the file system's encoding, which Python keeps as halves of
characters. Whatever cannot be seen is written as Python would escape it.
"""

import json
import re
import unicodedata
from typing import Any

# Control characters, halves of characters, and what changes the direction or has no width; but for
# the joiners U+200C and U+200D, which words of several scripts and emoji are spelt with.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8, which a file's need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(text: str) -> str:
    r"""One line in which every character can be seen, as `\x1b` or `\u202e` where it could not.

    A byte that is no text in the name of a file is written as that byte, `\xe9`.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda found: _escaped(found[0]), text)


def visible_lines(text: str) -> str:
    """Likewise, of a text whose lines and tabs are meant."""
    return re.sub(r"[^\n\t]+", lambda found: visible(found[0]), text)


def visible_json(values: Any) -> str:
    """Values as JSON in one line, in which every character can be seen, and which says the same."""
    text = json.dumps(values, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def tidy(name: str) -> str:
    """A name as it is compared: composed (Unicode NFC), one space for any, without what is unseen.

    So `café` is one label however it was typed, and so is `rock` with a space of no width behind.
    """
    name = " ".join(name.split())
    if name.isascii() and name.isprintable():
        return name
    # Tags stay, for flags of regions differ in them alone.
    kept = _UNSEEN.sub(lambda found: found[0] if found[0] > "\U000dffff" else "", name)
    return unicodedata.normalize("NFC", kept).strip()


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no text
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
