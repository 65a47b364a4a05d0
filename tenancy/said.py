"""How the values of what is said of an assistant are read: each as it is stored, or `Invalid`."""

from collections.abc import Callable
from typing import Any

from tenancy.errors import Invalid
from tenancy.text import is_carriable

MAX_TERMS = 40
MAX_TERM_CHARACTERS = 60
MAX_MEANING_CHARACTERS = 240

Parse = Callable[[str, object], Any]


def line_up_to(most: int) -> Parse:
    """A text of one line."""

    def parse(name: str, value: object) -> str:
        return " ".join(text_up_to(most)(name, value).split())

    return parse


def text_up_to(most: int) -> Parse:
    """A text of any lines."""

    def parse(name: str, value: object) -> str:
        if not isinstance(value, str) or not is_carriable(value) or len(value.strip()) > most:
            raise Invalid(name, f"must be at most {most} characters of text")
        return value.strip()

    return parse


def one_of(*words: str) -> Parse:
    """A word of a few."""

    def parse(name: str, value: object) -> object:
        if value not in words:
            raise Invalid(name, f"must be one of {', '.join(words)}")
        return value

    return parse


def lines_up_to(most: int, characters: int, what: str) -> Parse:
    """A list of texts of one line, each once."""

    def parse(name: str, value: object) -> list[str]:
        if not isinstance(value, list) or len(value) > most:
            raise Invalid(name, f"must be a list of at most {most} {what}")
        lines = [line_up_to(characters)(name, each) for each in value]
        if not all(lines):
            raise Invalid(name, "must hold no empty text")
        return [*dict.fromkeys(lines)]

    return parse


def glossary_terms(name: str, value: object) -> dict[str, str]:
    """Terms with their meanings."""
    if not isinstance(value, dict) or len(value) > MAX_TERMS:
        raise Invalid(name, f"must be at most {MAX_TERMS} terms with their meanings")
    read_term, read_meaning = line_up_to(MAX_TERM_CHARACTERS), line_up_to(MAX_MEANING_CHARACTERS)
    terms = {read_term(name, each): read_meaning(name, value[each]) for each in value}
    if not all(terms) or not all(terms.values()):
        raise Invalid(name, "must hold no empty text")
    return terms


def temperature(name: str, value: object) -> float:
    """How freely a model chooses its words."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise Invalid(name, "must be a number from 0 to 2")
    return float(value)
