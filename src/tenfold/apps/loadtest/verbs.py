"""The load test as a verb; wiring only."""

from tenfold.apps.loadtest import loadtest, page
from tenfold.core.records import Verb

VERBS = {"loadtest": Verb(loadtest.LoadConfig, loadtest.loadtest, loadtest.summary, page.build)}
