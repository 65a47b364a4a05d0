"""Why a binary file is refused, and how much of one is read at most."""

MAX_CHARACTERS = 20_000_000


class Unreadable(Exception):
    """The reason why a file is refused, as its sender may read it."""


class Counter:
    """Counts the characters of a file's text."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS

    def take(self, text: str) -> str:
        """`text`; raises `Unreadable` when it is too much."""
        self._left -= len(text)
        if self._left < 0:
            raise Unreadable(f"is too long: more than {MAX_CHARACTERS} characters")
        return text
