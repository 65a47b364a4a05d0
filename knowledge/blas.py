"""How many cores a matrix product may take."""

import ctypes
from pathlib import Path

import numpy as np

_SETTER = "scipy_openblas_set_num_threads64_"


def use_one_thread() -> bool:
    """Keep numpy's own OpenBLAS to the calling thread, for the process; whether that was possible.

    Its threads would take the event loop's core, and for matrices this small they gain nothing.
    Where numpy was built on another library, set `OPENBLAS_NUM_THREADS=1` or that one's variable.
    """
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    for path in sorted(folder.glob("libscipy_openblas64_*")):
        setter = getattr(ctypes.CDLL(str(path)), _SETTER, None)
        if setter is not None:
            setter(ctypes.c_int(1))
            return True
    return False
