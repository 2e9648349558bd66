"""The error tree and the exit codes of the command line.

TenfoldError            exit 1   our own failure, or one of the apparatus
  ApparatusError        exit 1   a provider, judge or checkpoint failed; recorded, never scored as the model's
  NumericalError        exit 1   the model produced NaN, or ruled out every token
UserError (ValueError)  exit 2   the user's mistake: what we got, what we accept, what to do next
  ConfigError                    a setting is unknown or out of range
  UnknownNameError               a name that no registry holds, with the nearest ones
  MissingArtifactError           a model, data set or file that is not on this machine
  ResumeError                    a run that cannot be continued
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TenfoldError(Exception):
    """Any failure that Tenfold reports in one line instead of a traceback."""

    exit_code = 1


class ApparatusError(TenfoldError):
    """Something around the model failed; the sample is recorded as such and not scored."""


class NumericalError(TenfoldError):
    """The model's own numbers cannot be used (NaN, or every token ruled out)."""


class UserError(TenfoldError, ValueError):
    """The user's mistake; the message says what we got, what we accept and what to do next."""

    exit_code = 2


class ConfigError(UserError):
    """A setting is unknown or outside its range."""


class MissingArtifactError(UserError):
    """A model, a data set or a file is not on this machine; the message says how to get it."""


class ResumeError(UserError):
    """The run asked for cannot be continued; the message names the settings that differ."""


class UnknownNameError(UserError):
    """A name that its registry does not hold."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        close = get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(match) for match in close)}?" if close else "choose one of them"
        super().__init__(f"unknown {kind} {name!r}; we know {', '.join(known) or 'none'}; {hint}")
