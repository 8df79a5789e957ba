"""What a traced program contains."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax._src.core import trace_state_clean  # no public name tells whether a function is being traced

FACTORIZATIONS = frozenset({"lu", "cholesky", "qr", "geqrf", "eigh", "svd", "schur", "triangular_solve"})
LIBRARY_CALLS = frozenset(  # what XLA's CPU backend hands to a library or to Python
    {"sort", "fft", "top_k", "approx_top_k", "ffi_call", "eig", "tridiagonal", "tridiagonal_solve", "hessenberg"}
    | {"householder_product", "ormqr", "cholesky_update", "symmetric_product"}
)
LARGE_PRODUCT = 10_000_000  # multiplications of one matrix product; the largest of a tabular step has 1.3 million

MANY_EQUATIONS = 4_500  # a tabular step has about 1,500, the longest 3,800


def is_tracing() -> bool:
    """Whether a function is being traced, by `jit`, `grad`, `vmap` or another transformation."""
    return not trace_state_clean()


def has_library_call(jaxpr: Any) -> bool:
    """Whether a program calls Python, sorts, transforms or factorises: such calls cannot stand in native code."""
    names = {equation.primitive.name for equation in _equations(jaxpr)}
    return bool(names & (LIBRARY_CALLS | FACTORIZATIONS)) or any("callback" in name for name in names)


def has_factorization(jaxpr: Any) -> bool:
    """Whether a program factorises a matrix.

    Measured with jaxlib 0.10.2: such programs can deadlock when several CPU devices run them at once.
    """
    return any(equation.primitive.name in FACTORIZATIONS for equation in _equations(jaxpr))


def has_large_product(jaxpr: Any) -> bool:
    """Whether a program multiplies large matrices, as neural networks do; batches of small ones do not count."""
    return any(_multiplications(e) > LARGE_PRODUCT for e in _equations(jaxpr) if e.primitive.name == "dot_general")


def has_many_equations(jaxpr: Any) -> bool:
    """Whether a program is long, as the derivative of a neural network is."""
    return sum(1 for _ in _equations(jaxpr)) > MANY_EQUATIONS


def _multiplications(product: Any) -> int:
    (contracted, _), (batched, _) = product.params["dimension_numbers"]
    shape = product.invars[0].aval.shape
    batch, inner = (math.prod(shape[i] for i in axes) for axes in (batched, contracted))
    return math.prod(product.outvars[0].aval.shape) // max(batch, 1) * inner


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of the programs inside it too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_holds_equations):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _holds_equations(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
