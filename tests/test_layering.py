"""Imports run one way between files, names with an underscore stay in their package, and importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hfac

ROOT = Path(hfac.__file__).parent
FILES = {
    ".".join(["hfac", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
ORDER = [  # of packages and files of the top level; each uses only those before it
    *("_errors", "_files", "_places", "_registry", "_activity", "_progress", "settings", "options"),
    *("_checks", "_compiler", "types", "_trees", "lower", "epochs", "judging", "schedules", "recommended"),
    *("tabular", "sequences", "exact", "metrics", "problems", "algorithms", "statistics"),
    *(
        "results",
        "engine",
        "tuning",
        "comparison",
        "diagnostics",
        "plots",
        "control",
        "tweets",
        "language",
        "pages",
        "runs",
        "cli",
    ),
    "__main__",
]


def imported(module: str) -> set[str]:
    """Modules and names of hfac that a file imports, inside functions and TYPE_CHECKING blocks too."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def place(name: str) -> str:
    """The file that a name stands in."""
    while name not in FILES:
        name = name.rpartition(".")[0]
    return name


def uses(module: str) -> set[str]:
    """Files that a file imports; a package's `__init__` counts where nothing inside it is meant."""
    return {place(name) for name in imported(module) if name.split(".")[0] == "hfac"} - {module, "hfac"}


def layer(module: str) -> str:
    return module.split(".")[1]


INSIDE = sorted(set(FILES) - {"hfac"})


def test_every_file_has_a_place():
    assert {layer(module) for module in INSIDE} == set(ORDER)


@pytest.mark.parametrize("module", INSIDE)
def test_imports_point_backwards(module):
    here = ORDER.index(layer(module))
    assert all(ORDER.index(layer(used)) <= here for used in uses(module)), sorted(uses(module))
    assert not {name for name in imported(module) if place_of_root(name)}, "a name of hfac itself: import its module"


def place_of_root(name: str) -> bool:
    parts = name.split(".")
    return parts[0] == "hfac" and len(parts) == 2 and name not in FILES and not parts[1].startswith("__")


def test_no_circle_between_files():
    graph = {module: {used for used in uses(module) if FILES[used].name != "__init__.py"} for module in INSIDE}
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " > ".join([*path[path.index(module) :], module])
        if module not in done:
            for used in sorted(graph[module]):
                visit(used, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_names_with_an_underscore_stay_in_their_package():
    strangers = set()
    for module in INSIDE:
        for name in imported(module):
            parts = name.split(".")
            for i in range(2, len(parts)):
                owner, is_private = ".".join(parts[:i]), parts[i].startswith("_") and not parts[i].startswith("__")
                if parts[0] == "hfac" and is_private and not f"{module}.".startswith(f"{owner}."):
                    strangers.add(f"{module} -> {name}")
    assert not strangers


def test_no_function_is_longer_than_a_screen():
    """At most 80 lines, docstring apart."""
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                words = ast.get_docstring(node, clean=False)
                length = node.end_lineno - node.lineno + 1 - (words.count("\n") + 1 if words else 0)
                assert length <= 80, f"{module}: {node.name} has {length} lines"


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [("exact", {"algorithms"}), ("engine", {"algorithms", "problems", "metrics", "exact", "tabular", "sequences"})],
)
def test_the_oracle_and_the_engine_know_no_method(name, forbidden):
    for module in INSIDE:
        if layer(module) == name:
            assert not {layer(used) for used in uses(module)} & forbidden, module


def test_the_oracle_knows_no_estimator_and_no_sampler():
    for module in INSIDE:
        if layer(module) == "exact":
            assert not {"hfac.tabular.estimators", "hfac.tabular.sampling", "hfac.tabular.lower"} & uses(module), module


@pytest.mark.parametrize(
    "package", ["jax", "jaxlib", "optax", "chex", "tyro", "orbax", "safetensors", "vaderSentiment"]
)
def test_every_required_package_is_used(package):
    assert package in {name.split(".")[0] for module in FILES for name in imported(module)}


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
