"""What the command line and recipes can do with templates; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.slotsum import deriving

VERBS = {"derive": Verb(deriving.DeriveConfig, deriving.derive, deriving.describe)}
