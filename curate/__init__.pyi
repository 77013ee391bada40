from . import dedup as dedup
from .api.checking import check as check
from .api.choosing import select as select
from .api.choosing import split as split
from .api.comparing import Diff as Diff
from .api.comparing import diff as diff
from .api.comparing import preview as preview
from .api.converting import Converted as Converted
from .api.converting import convert as convert
from .api.frames import decontaminate as decontaminate
from .api.frames import filter as filter  # noqa: A004 - the name of the step
from .api.frames import measure as measure
from .api.frames import pair as pair
from .api.publishing import export as export
from .api.publishing import pull as pull
from .api.publishing import push as push
from .api.runs import clean as clean
from .api.runs import generate as generate
from .api.runs import judge as judge
from .api.runs import rubric as rubric
from .api.runs import run as run
from .api.runs import trust as trust
from .api.training import bakeoff as bakeoff
from .api.training import evaluate as evaluate
from .api.training import preflight as preflight
from .api.training import train as train
from .errors import CurateError as CurateError
from .recipe.load import Recipe as Recipe
from .rundir.result import Run as Run
from .rundir.result import open_run as open_run
from .schema import CANDIDATES as CANDIDATES
from .schema import PAIR as PAIR
from .schema import PROMPTS as PROMPTS
from .schema.result import Result as Result
from .signals.base import Signal as Signal
from .sources.frames import read as read

__all__: list[str]
