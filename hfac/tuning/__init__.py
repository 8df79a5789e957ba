"""Search for settings: what may be tried, and rounds of successive halving, the same for every method."""

from hfac.tuning._keep import Kept as Kept
from hfac.tuning._search import FIRST_SEED as FIRST_SEED
from hfac.tuning._search import NUM_PARENTS as NUM_PARENTS
from hfac.tuning._search import Plan as Plan
from hfac.tuning._search import Rung as Rung
from hfac.tuning._search import Trial as Trial
from hfac.tuning._search import affordable as affordable
from hfac.tuning._search import rungs as rungs
from hfac.tuning._search import samples_per_step as samples_per_step
from hfac.tuning._search import search as search
from hfac.tuning._search import steps_for as steps_for
from hfac.tuning._search import tune as tune
from hfac.tuning._space import PENALTY_RATIO as PENALTY_RATIO
from hfac.tuning._space import SETTINGS as SETTINGS
from hfac.tuning._space import UPPER_RATIO as UPPER_RATIO
from hfac.tuning._space import Axis as Axis
from hfac.tuning._space import Range as Range
from hfac.tuning._space import Setting as Setting
from hfac.tuning._space import Space as Space
from hfac.tuning._space import around as around
from hfac.tuning._space import cross as cross
from hfac.tuning._space import draw as draw
from hfac.tuning._space import is_rate as is_rate
from hfac.tuning._space import options_of as options_of
from hfac.tuning._space import space_of as space_of
from hfac.tuning._space import to_schedules as to_schedules
