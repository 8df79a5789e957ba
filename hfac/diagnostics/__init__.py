"""What a problem and a run are like: hyper-gradients checked, the theory's condition, errors split, rates fitted."""

from hfac.diagnostics._diagnosis import Diagnosis as Diagnosis
from hfac.diagnostics._diagnosis import diagnose as diagnose
from hfac.diagnostics._error import PARTS as PARTS
from hfac.diagnostics._error import ErrorSplit as ErrorSplit
from hfac.diagnostics._error import explain as explain
from hfac.diagnostics._error import split_error as split_error
from hfac.diagnostics._hypergradient import Check as Check
from hfac.diagnostics._hypergradient import check_hypergradient as check_hypergradient
from hfac.diagnostics._lower_level import PolyakLojasiewicz as PolyakLojasiewicz
from hfac.diagnostics._lower_level import curvature as curvature
from hfac.diagnostics._lower_level import polyak_lojasiewicz as polyak_lojasiewicz
from hfac.diagnostics._lower_level import random_policies as random_policies
from hfac.diagnostics._lower_level import response_slope as response_slope
from hfac.diagnostics._rates import Fit as Fit
from hfac.diagnostics._rates import fit_rates as fit_rates
from hfac.diagnostics._rates import inside as inside
from hfac.diagnostics._rates import metric as metric
from hfac.diagnostics._rates import series as series
from hfac.diagnostics._stored import load as load
from hfac.diagnostics._stored import save as save
