"""A diagnosis as a file: whoever draws it again computes nothing."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from hfac import _files
from hfac.diagnostics._diagnosis import Diagnosis
from hfac.diagnostics._error import ErrorSplit
from hfac.diagnostics._lower_level import PolyakLojasiewicz

PARTS: dict[str, Any] = {"along": PolyakLojasiewicz, "at_random": PolyakLojasiewicz, "split": ErrorSplit}
NUMBERS = ("needed", "entropy", "penalty")
SHARES = "shares"


def save(found: Diagnosis, path: Path) -> None:
    """Write a diagnosis, whole or not at all.

    Raises:
      OSError: if it cannot be written.
    """
    leaves: dict[str, Any] = {}
    for name, value in found._asdict().items():
        if name in PARTS:
            leaves |= {f"{name}.{field}": leaf for field, leaf in value._asdict().items()}
        elif name == SHARES:
            leaves |= {f"{SHARES}.{share}": number for share, number in value.items()}
        else:
            leaves[name] = value
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: np.asarray(leaf) for name, leaf in leaves.items()})
    _files.replace(path, file.getvalue())


def load(path: Path) -> Diagnosis:
    """Read a diagnosis that `save` wrote.

    Raises:
      ValueError: if it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            leaves = {name: file[name] for name in file.files}
        found: dict[str, Any] = {name: leaves[name] for name in Diagnosis._fields if name in leaves}
        found |= {name: float(leaves[name]) for name in NUMBERS}
        for name, kind in PARTS.items():
            found[name] = kind(*(leaves[f"{name}.{field}"] for field in kind._fields))
        prefix = f"{SHARES}."
        found[SHARES] = {n.removeprefix(prefix): float(v) for n, v in leaves.items() if n.startswith(prefix)}
        return Diagnosis(**found)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}; restore it from a copy") from None
