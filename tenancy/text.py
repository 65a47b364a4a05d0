"""Text that every store and wire can carry, and what it begins with."""

import re


def clean(text: str) -> str:
    """`text` without NUL and lone surrogates, which Postgres, JSON and msgpack refuse."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")


def first_line(text: str) -> str:
    """The first line of a text that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def first_sentence(text: str, most: int) -> str:
    """The first sentence, or as many whole words of it as fit into `most` characters."""
    line = " ".join(first_line(text).split())
    sentence = re.split(r"(?<=[.!?…])\s|(?<=[。！？])", line, maxsplit=1)[0]
    if len(sentence) <= most:
        return sentence
    words = sentence[:most].rpartition(" ")[0].rstrip(",;:")
    return f"{words}…" if words else sentence[:most]


def is_carriable(text: str) -> bool:
    """Whether nothing of `text` would have to be left out."""
    return clean(text) == text
