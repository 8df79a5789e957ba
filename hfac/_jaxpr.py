"""What a traced program contains."""

from typing import Any

import jax

FACTORIZATIONS = frozenset({"lu", "cholesky", "qr", "geqrf", "eigh", "svd", "schur", "triangular_solve"})


def has_factorization(jaxpr: Any) -> bool:
    """Whether a program factorises a matrix.

    Measured with jaxlib 0.10.2: such programs can deadlock when several CPU devices run them at once.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name in FACTORIZATIONS:
            return True
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_holds_equations):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and has_factorization(inner):
                return True
    return False


def _holds_equations(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
