"""Figures: one function each. Those that every sweep draws are named in `FIGURES`."""

from hfac.plots._comparison import comparison as comparison
from hfac.plots._comparison import search as search
from hfac.plots._diagnostics import diagnosis as diagnosis
from hfac.plots._diagnostics import rates as rates
from hfac.plots._runs import FIGURES as FIGURES
from hfac.plots._runs import Answer as Answer
from hfac.plots._runs import Curve as Curve
from hfac.plots._runs import answer as answer
from hfac.plots._runs import configurations as configurations
from hfac.plots._runs import curve as curve
from hfac.plots._runs import describe as describe
from hfac.plots._runs import failures as failures
from hfac.plots._runs import grid as grid
from hfac.plots._runs import objective as objective
from hfac.plots._runs import objective_line as objective_line
from hfac.plots._runs import save_all as save_all
from hfac.plots._style import COLORS as COLORS
from hfac.plots._style import WIDTH as WIDTH
from hfac.plots._style import save as save
from hfac.plots._style import styled as styled
from hfac.plots._style import subplots as subplots
from hfac.plots._tweets import PANELS as PANELS
from hfac.plots._tweets import divergences as divergences
from hfac.plots._tweets import tweets as tweets
