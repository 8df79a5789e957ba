"""hfac: a compiled, vectorised engine for bi-level reinforcement learning.

A leader chooses a reward, a follower answers with the policy that is optimal for it, and the leader is judged by
that policy. Names are imported on first use; ``import hfac`` alone imports neither jax nor anything heavy.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {  # public name -> module
    **{
        name: f"hfac.{name}"
        for name in (
            "algorithms",
            "comparison",
            "control",
            "diagnostics",
            "engine",
            "epochs",
            "exact",
            "judging",
            "language",
            "lower",
            "metrics",
            "options",
            "pages",
            "plots",
            "problems",
            "recommended",
            "results",
            "runs",
            "schedules",
            "sequences",
            "settings",
            "statistics",
            "tabular",
            "tuning",
            "tweets",
            "types",
        )
    },
    **{name: f"hfac.tabular.{name}" for name in ("critics", "estimators", "mdp", "policies", "problem", "sampling")},
    "episodes": "hfac.sequences.episodes",
}
_NAMES = {
    "Algorithm": "hfac.types",
    "Coordinates": "hfac.schedules",
    "Draw": "hfac.lower",
    "EpisodicProblem": "hfac.sequences.problem",
    "Execution": "hfac.runs",
    "First": "hfac.lower",
    "Grid": "hfac.schedules",
    "GridLayout": "hfac.tabular.problem",
    "InputError": "hfac._errors",
    "Job": "hfac.runs",
    "Judge": "hfac.judging",
    "Lower": "hfac.lower",
    "Metric": "hfac.judging",
    "Needs": "hfac.types",
    "PowerDecay": "hfac.schedules",
    "Problem": "hfac.tabular.problem",
    "Rows": "hfac.types",
    "Schedules": "hfac.schedules",
    "Shared": "hfac.types",
    "Solution": "hfac.types",
    "Status": "hfac.types",
    "Stopped": "hfac._errors",
    "TabularMDP": "hfac.tabular.mdp",
    "Transition": "hfac.types",
    "check_hypergradient": "hfac.diagnostics",
    "judge": "hfac.results",
    "run": "hfac.engine",
    "run_key": "hfac.engine",
    "sweep": "hfac.engine",
}


__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'hfac' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, *_MODULES])
