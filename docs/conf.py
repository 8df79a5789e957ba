"""Settings of the documentation site; `make docs` builds it."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import _reference

import hfac

project, author, copyright = "hfac", "the hfac developers", "the hfac developers"
version = release = hfac.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "README.md"]
html_theme, html_title = "furo", "hfac"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
default_role = "literal"

_reference.write(Path(__file__).parent / "reference")


def setup(app: Any) -> None:
    """Docstrings are plain text with backticks: what reStructuredText would take for its own is escaped first."""
    app.connect("autodoc-process-docstring", _reference.escape, priority=1)
    app.connect("autodoc-process-docstring", _reference.describe_field, priority=900)  # after napoleon
