"""Work on a file in a process of its own.

A file of kilobytes can be made to unfold into hours of work and gigabytes of text, which no bound
inside one interpreter stops, and one of megabytes holds the interpreter while others wait. The
process has bounds the kernel keeps, and nothing to steal: no environment, no connection, no other
file's text.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tenancy.errors import Invalid, Unavailable

MAX_SECONDS = 90.0  # of a busy machine; the process is allowed 30 of a core's
MAX_CPU_SECONDS = 30
MAX_MEMORY_BYTES = 1 << 30
_ROOT = Path(__file__).parents[1]


def ask_apart(module: str, *arguments: str, data: bytes, kind: str) -> Any:
    """What a module of ours answers in JSON; raises `Invalid` with its `reason`, or `Unavailable`.

    Blocks meanwhile, without holding the interpreter.
    """
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", module, *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries quote the file in their warnings
            cwd=_ROOT,
            env={},
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Invalid("file", f"is a {kind} that takes too long to read") from None
    if done.returncode < 0:
        raise Invalid("file", f"is a {kind} that is too complex to read")
    if done.returncode > 0:
        raise Unavailable(f"Files of this kind, {kind}, cannot be read at the moment.")
    answer = json.loads(done.stdout)  # text of a file may hold what stricter ones refuse
    if reason := answer.get("reason"):
        raise Invalid("file", reason)
    return answer


def bound_this_process() -> None:
    """Have the kernel end this process when it takes too much."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
