"""The one choke point between crawled text and a terminal."""

from __future__ import annotations

import re

# C0 but tab and line feed, DEL, C1, line and paragraph separators, bidi controls, tag characters,
# and lone surrogates, which no terminal encoding can carry.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return `text` with everything a terminal might obey taken out; line ends become line feeds.

    What is left is plain text: print it as it stands, never as markup.
    """
    return UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
