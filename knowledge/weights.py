"""Model weights out of a safetensors file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def load_weights(path: Path) -> dict[str, Floats]:
    """Every float32 tensor of the file by its name, copied into memory."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    return {
        name: _tensor(path, 8 + size, entry)
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def _tensor(path: Path, base: int, entry: dict[str, Any]) -> Floats:
    start, end = entry["data_offsets"]
    count = (end - start) // 4
    flat = np.fromfile(path, dtype="<f4", count=count, offset=base + start)
    return flat.astype(np.float32, copy=False).reshape(entry["shape"])
