"""Large files to text and pieces, all of it in a process of its own."""

import json
import sys
from dataclasses import asdict

from knowledge.apart import ask_apart, bound_this_process
from knowledge.media import media_type_of
from knowledge.parse import Parsed, parse
from knowledge.pieces import Piece
from knowledge.split import split
from tenancy.errors import Invalid

LARGE_BYTES = 1_000_000  # what is smaller holds the interpreter for a tenth of a second at most


def read_large(name: str, data: bytes, declared: str | None) -> tuple[Parsed, list[Piece]]:
    """A file and its pieces; raises as `parse` and `split` do, and as `ask_apart`."""
    media_type_of(name, data, declared)
    arguments = (_ascii(name), _ascii(declared or ""))
    answer = ask_apart("knowledge.large", *arguments, data=data, kind="large file")
    pieces = [Piece(**piece | {"path": tuple(piece["path"])}) for piece in answer["pieces"]]
    return Parsed(**answer["parsed"]), pieces


def main() -> None:
    """Answer `{"parsed", "pieces"}` or `{"reason"}`; ended by a signal when it takes too much."""
    bound_this_process()
    name, declared = (json.loads(argument) for argument in sys.argv[1:])
    try:
        parsed = parse(name, sys.stdin.buffer.read(), declared or None)
        pieces = split(parsed.text, parsed.media_type, pages=parsed.pages)
        answer = {"parsed": asdict(parsed), "pieces": [asdict(piece) for piece in pieces]}
    except Invalid as refused:
        answer = {"reason": refused.message}
    except MemoryError:
        answer = {"reason": "is too complex to read"}
    json.dump(answer, sys.stdout)


def _ascii(text: str) -> str:
    """As an argument whatever a client calls its file: it may hold what no argument can."""
    return json.dumps(text)


if __name__ == "__main__":
    main()
