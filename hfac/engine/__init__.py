"""The engine: one run, and sweeps of runs. It knows no problem, no method and no metric."""

from hfac.engine._checkpoint import Checkpoints as Checkpoints
from hfac.engine._checkpoint import Snapshot as Snapshot
from hfac.engine._layout import Layout as Layout
from hfac.engine._layout import check_names as check_names
from hfac.engine._layout import lay_out as lay_out
from hfac.engine._layout import state_bytes as state_bytes
from hfac.engine._loop import History as History
from hfac.engine._loop import SharedRecord as SharedRecord
from hfac.engine._loop import default_record as default_record
from hfac.engine._loop import record_points as record_points
from hfac.engine._loop import run_key as run_key
from hfac.engine._parts import advance_part as advance_part
from hfac.engine._parts import first_shapes as first_shapes
from hfac.engine._replay import Replay as Replay
from hfac.engine._replay import replay as replay
from hfac.engine._run import run as run
from hfac.engine._sharding import make_plan as make_plan
from hfac.engine._sharding import num_cores as num_cores
from hfac.engine._stream import Piece as Piece
from hfac.engine._stream import stream as stream
from hfac.engine._sweep import sweep as sweep
