"""Names of a tree's leaves, such as ``x`` or ``x.bias``, for stores and checkpoints; and the tree of named leaves."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import jax

from hfac.types import PyTree

WHOLE = "record"  # name of a tree that is one leaf
_EMPTY = "%"  # a part without a letter


def _part(key: Any) -> str:
    """One step of a leaf's path; what means something in a name or a folder is spelled out, as ``%2E`` for a dot."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            text = str(getattr(key, attribute))
            break
    else:
        text = str(key)
    quoted = urllib.parse.quote(text, safe=" ,:+@=()[]'").replace(".", "%2E")
    return re.sub("^_(?=_)", "%5F", quoted) or _EMPTY


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Leaves of a tree by a dotted name; different leaves have different names.

    Raises:
      ValueError: if two keys of a dictionary read alike.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = ".".join(map(_part, path)) or WHOLE
        if name in found:
            raise ValueError(f"two leaves of a tree would be called '{name}'; give them other keys")
        found[name] = leaf
    return found


def restored(named: Mapping[str, Any], like: PyTree, prefix: str = "") -> PyTree:
    """The tree of named leaves, in the structure of another.

    Args:
      named: name -> leaf; may hold others too.
      like: a tree whose leaves have these names.
      prefix: what the names begin with, such as "x".

    Raises:
      ValueError: if a leaf is missing.
    """
    names = list(named_leaves({prefix: like} if prefix else like))
    missing = [name for name in names if name not in named]
    if missing:
        raise ValueError(f"'{missing[0]}' was not recorded; there are {', '.join(sorted(named)) or 'no records'}")
    return jax.tree.unflatten(jax.tree.structure(like), [named[name] for name in names])


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary of dictionaries with text keys whose leaves have these names."""
    tree: dict[str, Any] = {}
    for name, leaf in named.items():
        *path, last = ("" if part == _EMPTY else urllib.parse.unquote(part) for part in name.split("."))
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = leaf
    return tree
