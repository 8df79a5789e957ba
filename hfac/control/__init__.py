"""Bi-level problems on step/reset environments, their followers neural policies.

An `Environment` is two pure functions; a `ControlProblem` adds the leader. Every method that is written against
`hfac.lower.Lower` runs on it unchanged.
"""

from hfac.control import environments as environments
from hfac.control.environment import Box as Box
from hfac.control.environment import Discrete as Discrete
from hfac.control.environment import Environment as Environment
from hfac.control.environment import Step as Step
from hfac.control.judging import adam as adam
from hfac.control.judging import episodes as episodes
from hfac.control.networks import Network as Network
from hfac.control.networks import from_flax as from_flax
from hfac.control.networks import from_nnx as from_nnx
from hfac.control.networks import linear as linear
from hfac.control.networks import mlp as mlp
from hfac.control.pairs import logistic_loss as logistic_loss
from hfac.control.problem import ControlProblem as ControlProblem
from hfac.control.problem import Preferences as Preferences
from hfac.control.problem import Segment as Segment
from hfac.control.tabular import tabular as tabular
