"""`tenantry`: everything an operator does, from a terminal.

Commands import what they need when they run, so that `--help` is there at once.
"""

import sys
import typing
from importlib import import_module

import typer

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    from tenancy.errors import TenantryError

COMMANDS = (
    "serving",
    "tenants",
    "plans",
    "reconciling",
    "prices",
    "profiles",
    "credentials",
    "issuers",
    "seals",
    "indexes",
    "knowledge",
    "corpora",
    "embeddings",
    "toolbelt",
    "talking",
    "threads",
    "memories",
    "account",
    "watching",
    "verification",
    "benchmarks",
)

app = typer.Typer(
    name="tenantry",
    help="One agent engine for thousands of tenants.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def main(arguments: "Sequence[str] | None" = None) -> None:
    """Run a command, and exit: 0 done, 1 failed, 2 for usage or settings."""
    import os

    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # read when langgraph is imported
    for name in COMMANDS:
        import_module(f"server.cli.{name}")  # importing registers the commands
    from tenancy.errors import TenantryError

    try:
        app(arguments)
    except TenantryError as error:
        sys.stderr.write(f"tenantry: {_sentence(error)}\n")
        sys.exit(_exit_code(error))


def _sentence(error: "TenantryError") -> str:
    from tenancy.errors import Invalid

    text = f"{error.field} {error.message}" if isinstance(error, Invalid) else error.detail
    return " ".join(text.split())


def _exit_code(error: "TenantryError") -> int:
    from tenancy.errors import Invalid, Misconfigured

    return 2 if isinstance(error, Misconfigured | Invalid) else 1
