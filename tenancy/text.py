"""Text that every store and wire can carry."""


def clean(text: str) -> str:
    """`text` without NUL and lone surrogates, which Postgres, JSON and msgpack refuse."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
