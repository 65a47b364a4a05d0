"""Source code as atoms: each under the definitions that it is in."""

import re
from collections.abc import Iterator

from knowledge.pieces import Atom, Path
from knowledge.prose import lines, small

# What opens a definition in the languages in use: words before it, its kind, its name.
_DEFINITION = re.compile(
    r"""(?x) ^(?P<indent>[ \t]{0,24})
    (?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([a-z]+\))?
        |unsafe|extern|const|inline|virtual|override|sealed|partial|open|data|suspend)\s+)*
    (?:def|class|fn|func|fun|function|struct|enum|trait|impl(?:<[^>]*>)?|interface|module|namespace|object
        |protocol|extension|record|type|CREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|FUNCTION|VIEW|PROCEDURE))
    \s+(?P<name>[A-Za-z_$][\w$]*(?:(?:::|\.)[\w$]+)*)""",
    re.IGNORECASE,
)
_MAX_LINE = 500


def source_atoms(text: str) -> Iterator[Atom]:
    """The lines of a source file, kept together between definitions as far as they fit."""
    way: list[tuple[int, str]] = []
    begin = 0
    for start, end in lines(text, 0, len(text)):
        found = _DEFINITION.match(text[start : min(end, start + _MAX_LINE)])
        if not found:
            continue
        yield from _body(text, begin, start, _names(way))
        depth = len(found["indent"].expandtabs(4))
        way = [*(each for each in way if each[0] < depth), (depth, found["name"])]
        begin = start
    yield from _body(text, begin, len(text), _names(way))


def _body(text: str, start: int, end: int, path: Path) -> Iterator[Atom]:
    """A definition, and its parts between blank lines where it is too long."""
    for span in small(text, start, end):
        yield Atom(*span, path=path)


def _names(way: list[tuple[int, str]]) -> Path:
    return tuple(name for _, name in way)
