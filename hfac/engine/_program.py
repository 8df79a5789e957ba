"""The compiled programs that move runs side by side."""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _registry
from hfac._activity import activity
from hfac._compiler import native, random
from hfac._compiler.jaxpr import has_factorization, has_large_product, has_library_call, has_many_equations
from hfac.engine import _loop, _sharding
from hfac.types import Algorithm

CHUNK = 64  # steps that a GPU does before it asks its host whether to go on


class Runs(NamedTuple):
    """What distinguishes the runs of a sweep; every leaf [R, ...], configurations major, seeds minor."""

    key: Any  # run keys [R]
    schedules: Any  # leaves [R]
    initial: Any  # state or upper variable, leaves [R, ...], or None


class Program:
    """The compiled programs of a sweep: `start` makes the states, `advance` moves them, `whole` does both.

    `advance` may be called once with every record point or point by point; the numbers are the same.
    """

    waits_for_host = False  # whether a step has a part on the host

    def __init__(self, algorithm: Algorithm, record: _loop.Record, plan: _sharding.Placement) -> None:
        """Prepare the programs; nothing is compiled yet."""
        self.plan = plan
        self.compile_seconds = 0.0
        self._algorithm, self._record = algorithm, record
        self._shared = jax.tree.map(jnp.asarray, algorithm.shared_arrays)  # one copy, whatever is called
        self._is_native = plan.devices[0].platform == "cpu" and not algorithm.is_long and native.is_known()
        self._programs = self._prepare()
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def _prepare(self) -> dict[str, Any]:
        algorithm = self._algorithm
        chunk = 1 if self.plan.devices[0].platform == "cpu" else CHUNK
        steps = functools.partial(_loop.advance, algorithm, self._record, chunk=chunk)
        loop = native.as_one_function(steps) if self._is_native else steps

        def start(runs: Runs, shared: Any) -> Any:
            return _loop.first_state(algorithm.reading(shared), runs.key, runs.schedules, runs.initial)

        def advance(runs: Runs, state: Any, lengths: jax.Array, shared: Any) -> tuple[Any, _loop.History]:
            return loop(runs.key, runs.schedules, state, lengths, shared)

        def whole(runs: Runs, lengths: jax.Array, shared: Any) -> tuple[Any, _loop.History]:
            # a constant of the start that reached the native call as an argument would abort its compilation
            return advance(runs, jax.lax.optimization_barrier(start(runs, shared)), lengths, shared)

        return {
            "start": jax.jit(_sharding.over_runs(start, self.plan, num_shared=1)),
            "advance": jax.jit(_sharding.over_runs(advance, self.plan, num_shared=2), donate_argnums=1),
            "whole": jax.jit(_sharding.over_runs(whole, self.plan, num_shared=2)),
        }

    def factorizes(self, runs: Runs) -> bool:
        """Whether a step factorises a matrix, which several CPU devices must not do at once."""
        states = self.shapes(runs)
        lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
        return has_factorization(self._programs["advance"].trace(runs, states, lengths, self._shared).jaxpr.jaxpr)

    def shapes(self, runs: Runs) -> Any:
        """Shapes of the states of all slots."""
        return jax.eval_shape(self._programs["start"], runs, self._shared)

    def record_shapes(self, runs: Runs) -> Any:
        """Shapes of what one record point keeps of one run."""
        lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
        history = jax.eval_shape(self._programs["advance"], runs, self.shapes(runs), lengths, self._shared)[1]
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), history.record)

    @property
    def peak_bytes(self) -> int:
        """Bytes that the largest of the compiled programs holds at once, arguments included, on all devices."""
        return max((_held(compiled) for compiled in self._compiled.values()), default=0) * len(self.plan.devices)

    def start(self, runs: Runs) -> Any:
        """First states of all slots."""
        return self._call("start", runs)

    def advance(self, runs: Runs, states: Any, lengths: Any) -> tuple[Any, _loop.History]:
        """Do intervals of `lengths` steps; the states passed in are consumed."""
        return self._call("advance", runs, states, jnp.asarray(lengths, jnp.int32))

    def whole(self, runs: Runs, lengths: Any) -> tuple[Any, _loop.History]:
        """Start and advance in one compiled call."""
        return self._call("whole", runs, jnp.asarray(lengths, jnp.int32))

    def _call(self, name: str, *args: Any) -> Any:
        with jax.disable_jit(False):  # a sweep is a compiled program, whatever is switched off around it
            return self._call_compiled(name, (*jax.tree.map(jnp.asarray, args), self._shared))

    def _call_compiled(self, name: str, args: Any) -> Any:
        signature = (name, jax.tree.structure(args), tuple((a.shape, a.dtype) for a in jax.tree.leaves(args)))
        if signature not in self._compiled:
            began = time.perf_counter()
            with activity("compiling"), random.pinned():
                self._compiled[signature] = self._compile(name, args)
            self.compile_seconds += time.perf_counter() - began
        return self._compiled[signature](*args)

    def _compile(self, name: str, args: Any) -> Callable[..., Any]:
        traced = self._programs[name].trace(*args)
        if not self._is_native:
            return traced.lower().compile()
        whole = traced.jaxpr.jaxpr
        if not any(found(whole) for found in (has_library_call, has_large_product, has_many_equations)):
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # the step holds something else that cannot be nested
                return traced.lower().compile(compiler_options=native.OPTIONS)
        self._is_native = False
        self._programs = self._prepare()
        return self._compile(name, args)


def _held(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(memory.argument_size_in_bytes + output + memory.temp_size_in_bytes)


@functools.lru_cache(maxsize=64)
def program(algorithm: Algorithm, record: _loop.Record, plan: _sharding.Placement) -> Program:
    """The programs of a sweep, made once for each algorithm, record function and plan."""
    if algorithm.host is None:
        return Program(algorithm, record, plan)
    return _registry.load("hfac.engine._host:HostProgram")(algorithm, record, plan)
