"""A sweep as an `xarray.Dataset`, judged, and on disk."""

from hfac.results._dataset import RunTable as RunTable
from hfac.results._dataset import dataset as dataset
from hfac.results._dataset import labelled as labelled
from hfac.results._dataset import provenance as provenance
from hfac.results._dataset import run_table as run_table
from hfac.results._judge import judge as judge
from hfac.results._judge import structured as structured
from hfac.results._judge import summary as summary
from hfac.results._store import PART as PART
from hfac.results._store import Part as Part
from hfac.results._store import Store as Store
from hfac.results._store import load as load
from hfac.results._store import save as save
from hfac.results._store import write as write
