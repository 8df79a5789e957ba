"""Ground truth for tabular problems: exact objectives, gradients, policies and residuals.

Works in float64 where x64 is on; in float32 otherwise, accurate to about 1e-4. Nothing here knows an estimator or
an algorithm. Planners and the exact sampler use its solvers, so that comparing them with it shows only that they
use them rightly; that the solvers are right is shown by the tests' own brute force.
"""

from hfac.exact import sequences as sequences
from hfac.exact._best_response import best_response as best_response
from hfac.exact._best_response import limit_policy as limit_policy
from hfac.exact._best_response import penalty_objective as penalty_objective
from hfac.exact._best_response import penalty_response as penalty_response
from hfac.exact._best_response import respond as respond
from hfac.exact._hypergradient import DESCENT_RATES as DESCENT_RATES
from hfac.exact._hypergradient import DESCENT_STEPS as DESCENT_STEPS
from hfac.exact._hypergradient import STEPS_PER_REPORT as STEPS_PER_REPORT
from hfac.exact._hypergradient import Evaluation as Evaluation
from hfac.exact._hypergradient import Minimum as Minimum
from hfac.exact._hypergradient import evaluate as evaluate
from hfac.exact._hypergradient import hyper_objective as hyper_objective
from hfac.exact._hypergradient import hypergradient as hypergradient
from hfac.exact._hypergradient import limit_hyper_objective as limit_hyper_objective
from hfac.exact._hypergradient import minimize as minimize
from hfac.exact._hypergradient import penalty_hyper_objective as penalty_hyper_objective
from hfac.exact._hypergradient import penalty_hypergradient as penalty_hypergradient
from hfac.exact._policy import leader_value as leader_value
from hfac.exact._policy import regularized_return as regularized_return
from hfac.exact._policy import regularized_return_grad as regularized_return_grad
from hfac.exact._policy import upper_objective as upper_objective
from hfac.exact._policy import upper_objective_grad as upper_objective_grad
from hfac.exact._policy import value as value
from hfac.exact._policy import visitation as visitation
