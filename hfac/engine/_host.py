"""Sweeps whose steps have a part on the host: two compiled programs a step, and somebody's answer in between."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.engine import _loop, _sharding
from hfac.engine._program import Program, Runs
from hfac.types import Host


class HostProgram(Program):
    """The programs of a sweep with a host part; states, records and random streams are those of one without."""

    waits_for_host = True

    def _prepare(self) -> dict[str, Any]:
        algorithm, plan = self._algorithm, self.plan
        self._is_native = False

        def host_of(shared: Any) -> Host:
            found = algorithm.reading(shared).host
            assert found is not None
            return found

        def key_of(runs: Runs, state: Any) -> Any:
            return random.fold_in(random.fold_in(runs.key, 1), state.step)

        def start(runs: Runs, shared: Any) -> Any:
            return _loop.first_state(algorithm.reading(shared), runs.key, runs.schedules, runs.initial)

        def draw(runs: Runs, state: Any, shared: Any) -> Any:
            return host_of(shared).draw(key_of(runs, state), state, runs.schedules)

        def update(runs: Runs, state: Any, kept: Any, answer: Any, shared: Any) -> Any:
            return host_of(shared).step(key_of(runs, state), state, runs.schedules, kept, answer)

        def record(runs: Runs, state: Any, info: Any, num_samples: jax.Array, shared: Any) -> _loop.History:
            keep = _loop.record_over(self._record, shared)
            kept = keep(state, info._replace(num_samples=num_samples), runs.schedules)
            return _loop.History(state.step, num_samples, kept)

        over = functools.partial(_sharding.over_runs, plan=plan, num_shared=1)
        return {
            "start": jax.jit(over(start)),
            "draw": jax.jit(over(draw)),
            "update": jax.jit(over(update), donate_argnums=1),
            "record": jax.jit(over(record)),
        }

    def factorizes(self, runs: Runs) -> bool:
        """No: devices wait for the host between the parts of a step."""
        return False

    def record_shapes(self, runs: Runs) -> Any:
        """Shapes of what one record point keeps of one run."""
        states = self.shapes(runs)
        count = jax.ShapeDtypeStruct((self.plan.num_slots,), jnp.int32)
        history = jax.eval_shape(self._programs["record"], runs, states, self._info(runs, states), count, self._shared)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), history.record)

    def _info(self, runs: Runs, states: Any) -> Any:
        """Shapes of what a step says of itself."""
        asked, kept = jax.eval_shape(self._programs["draw"], runs, states, self._shared)
        host = self._algorithm.host
        assert host is not None
        answer = host.like(asked)
        return jax.eval_shape(self._programs["update"], runs, states, kept, answer, self._shared)[1]

    def advance(self, runs: Runs, states: Any, lengths: Any) -> tuple[Any, _loop.History]:
        """Do intervals of `lengths` steps; the states passed in are consumed.

        Raises:
          ValueError: if the host's part fails; what was answered before is kept by who answers.
        """
        host = self._algorithm.host
        assert host is not None
        info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self._info(runs, states))
        points = []
        for length in np.asarray(lengths):
            count = jnp.zeros(self.plan.num_slots, jnp.int32)
            for _ in range(int(length)):
                asked, kept = self._call("draw", runs, states)
                answer = host.answer(jax.device_get(asked), np.asarray(jax.random.key_data(runs.key)))
                states, info = self._call("update", runs, states, kept, answer)
                count = count + info.num_samples
            points.append(self._call("record", runs, states, info, count))
        return states, jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *points)

    def whole(self, runs: Runs, lengths: Any) -> tuple[Any, _loop.History]:
        """Start and advance."""
        return self.advance(runs, self.start(runs), lengths)
