"""The one place that turns names into code: `specdec.specbench` into a verb, by way of the catalogue; the training methods
that one home offers to the others; a guard for a server.
"""

from typing import Any, NamedTuple

from tenfold.core.errors import ConfigError
from tenfold.core.records import Verb
from tenfold.core.registry import load_target
from tenfold.llm.guard import Guard
from tenfold.systems import catalogue
from tenfold.train import methods


class OwnVerb(NamedTuple):
    """A verb that belongs to no method, and is a command by itself."""

    target: str
    page: str
    """The page that tells about it."""


OWN_VERBS = {"serve.loadtest": OwnVerb("tenfold.apps.loadtest.verbs:VERBS", "docs/serve-it.md")}
"""By the names under which their runs are found, shown and published like all others."""

methods.provide("plora", "tenfold.systems.plora.method:PeriodicMethod")


def verb(name: str) -> Verb:
    """The verb that `<system>.<verb>` names.

    Raises:
        ConfigError: there is no dot in the name.
        UnknownNameError: no such system, or no such verb of it; the message gives the nearest names.
    """
    system, dot, word = name.partition(".")
    if not dot:
        raise ConfigError(f"cannot find the verb {name!r}; write it as system.verb, for example specdec.specbench")
    if name in OWN_VERBS:
        return load_target(OWN_VERBS[name].target)[word]
    return catalogue.find(system).verb(word)


def guard(name: str) -> Guard:
    """The guard that a run's folder or a model's name means, for `serve --guard`.

    Raises:
        MissingArtifactError: there is no such guard or model.
        ConfigError: its thresholds belong to another model, prompt or rule pack.
    """
    return load_target("tenfold.systems.shieldlm.served:open_served")(name)


def guard_routes(guard: Guard) -> Any:
    """The guard's own routes (moderations, checks) as a FastAPI router."""
    return load_target("tenfold.systems.shieldlm.service:served_routes")(guard)
