"""Shared settings: float64 for oracles, strict dtypes and ranks, two CPU devices, every warning an error."""

import atexit
import os
import shutil
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers compile, and start processes, with the programs of all
    programs = tempfile.mkdtemp(prefix="hfac-tests-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": programs, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

from support import compilation

given = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = f"{given or ''} {compilation.FLAGS}"

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", os.environ.get("HFAC_TEST_X64", "1") == "1")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.devices()  # reads the flags; processes that tests start are given them by `commands.environment`, or not
os.environ.pop("XLA_FLAGS") if given is None else os.environ.update(XLA_FLAGS=given)
compilation.collect_less()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20_260_116)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in; commands leave jax as the tests set it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    return tmp_path
