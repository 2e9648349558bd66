"""The one place that turns names into code: `specdec.specbench` into a verb, by way of the catalogue; the training methods
that one home offers to the others.
"""

from tenfold.core.errors import ConfigError
from tenfold.core.records import Verb
from tenfold.core.registry import load_target
from tenfold.systems import catalogue
from tenfold.train import methods

OWN_VERBS = {"serve.loadtest": "tenfold.apps.loadtest.verbs:VERBS"}
"""Verbs that belong to no method, by their names; their runs are found, shown and published like all others."""

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
        return load_target(OWN_VERBS[name])[word]
    return catalogue.find(system).verb(word)
