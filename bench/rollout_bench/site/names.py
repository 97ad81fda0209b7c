"""Names out of results/ in scripts and file names: they may hold anything, and stay data. Pure."""

import hashlib
import json
import re
from typing import Any

_LONGEST = 80
"""Letters of a name that are kept; with what stands around them, a file's name stays below 255 bytes."""


def literal(content: Any) -> str:
    """`content` as JavaScript, in a file as between <script> and </script>.

    All but ASCII is escaped, and so are U+2028, U+2029 and halves of surrogate pairs. NaN and Infinity
    are JavaScript as they are; a key __proto__ would set the prototype, and is computed.
    """
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
    return text.replace('"__proto__":', '["__proto__"]:')  # within a string its quotes have a backslash


def slug(name: str) -> str:
    """A name of plain letters for a file: `name` itself where it is such and short, else with a digest."""
    plain = plain_letters(name)
    return plain if plain == name else f"{plain}-{digest(name)}"


def plain_letters(name: str) -> str:
    """What a file's name can take of a name. Several names may give the same."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_LONGEST]


def digest(text: str) -> str:
    """A few letters that only this text has."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
