"""Which variables of the environment look like settings and are none."""

import difflib
import os
from collections.abc import Iterable

from dotenv import dotenv_values

from server.settings import PREFIX, variables


def unknown_settings(names: Iterable[str] | None = None) -> list[str]:
    """One warning for each variable with our prefix that is no setting, with the nearest name."""
    present = names if names is not None else {**dotenv_values(".env"), **os.environ}
    known = variables()
    strangers = sorted(n for n in present if n.startswith(PREFIX) and n not in known)
    return [_did_you_mean(name, known) for name in strangers]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    bare = {each.removeprefix(PREFIX): each for each in known}  # all share it: it says nothing
    near = difflib.get_close_matches(name.removeprefix(PREFIX), list(bare), n=1)
    hint = f"; did you mean {bare[near[0]]}?" if near else "."
    return f"{name} is no setting{hint}"
