"""Packages with tools, installed for as long as a test needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def write_plugin(folder: Path, name: str, source: str) -> None:
    """Put a third party's package into a folder, as pip would: a module and its entry point."""
    (folder / f"{name}_tools.py").write_text(source)
    metadata = folder / f"{name}_tools-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-tools\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[tenantry.tools]\n{name} = {name}_tools:tools\n")


@contextmanager
def installed(folder: Path, name: str, source: str) -> Iterator[Path]:
    """Such a package in a folder from which this process imports."""
    write_plugin(folder, name, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
