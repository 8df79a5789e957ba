"""Modules import only earlier modules, every declared dependency is used, and importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hfac

ROOT = Path(hfac.__file__).parent
ORDER = [
    *(
        "_registry",
        "options",
        "_files",
        "_checks",
        "_random",
        "_reduce",
        "_jaxpr",
        "types",
        "_trees",
        "lower",
        "schedules",
        "recommended",
        "mdp",
        "policies",
        "critics",
    ),
    *(
        "problem",
        "exact",
        "metrics",
        "problems",
        "sampling",
        "estimators",
        "tabular",
        "episodes",
        "sequences",
        "algorithms",
        "statistics",
        "results",
    ),
    *("engine", "tuning", "comparison", "diagnostics", "plots", "tweets", "cli", "__main__"),
]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything a module imports, inside functions and TYPE_CHECKING blocks too."""
    package = ["hfac", *path.relative_to(ROOT).parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def layers_used(path: Path) -> set[str]:
    """Second part of every hfac name: `hfac.exact._policy.visits` is exact."""
    parts = (name.split(".") for name in imported(path))
    return {p[1] for p in parts if p[0] == "hfac" and len(p) > 1 and not p[1].startswith("__")}


def test_every_module_has_a_place():
    assert {layer(path) for path in MODULES} <= set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_backwards(path):
    here = ORDER.index(layer(path))
    known = {name for name in layers_used(path) if name in ORDER}
    assert layers_used(path) == known, "a name of hfac itself: import it from its module"
    assert all(ORDER.index(name) <= here for name in known), sorted(known)


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [("exact", {"estimators", "algorithms", "sampling"}), ("engine", {"algorithms", "problems", "metrics", "exact"})],
)
def test_the_oracle_and_the_engine_know_no_method(name, forbidden):
    for path in MODULES:
        if layer(path) == name:
            assert not layers_used(path) & forbidden, path.name


@pytest.mark.parametrize("package", ["jax", "jaxlib", "optax", "chex", "tyro", "orbax", "vaderSentiment"])
def test_every_required_package_is_used(package):
    used = {name.split(".")[0] for path in MODULES for name in imported(path)}
    assert package in used


@pytest.mark.parametrize(
    "statement",
    [
        "import hfac",
        "import hfac; dir(hfac)",
        "import hfac.problems; assert 'goal_placement' in hfac.problems.REGISTRY",
        "import hfac.algorithms; assert 'hfac' in hfac.algorithms.REGISTRY",
    ],
)
def test_listing_imports_no_jax(statement):
    heavy = "{'jax', 'jaxlib', 'numpy', 'optax', 'chex', 'xarray', 'matplotlib'}"
    code = f"import sys; {statement}; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
