"""The settings of `generate`: what is asked of whom, how much of it, at what cost, and what must pass."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tenfold.core.config import Names, Paths
from tenfold.systems.glan.budget import BudgetConfig
from tenfold.systems.glan.gating import GateOptions
from tenfold.systems.glan.planner import PlanConfig
from tenfold.systems.glan.taxonomy import BUNDLED
from tenfold.systems.glan.teachers import is_local

LOCAL = {"temperature": 0.7, "question_tokens": 128, "answer_tokens": 256, "rounds": 1, "again_when_cut": 0}
"""What a local teacher is given where nothing else is said: it is smaller and slower than an endpoint's."""


class GenerateConfig(PlanConfig, BudgetConfig, GateOptions):
    """Make instruction data from a taxonomy: subjects, syllabi, questions and answers by a teacher."""

    taxonomy: str = BUNDLED
    """bundled, core126 (126 of its disciplines), or a TOML file of your own."""
    disciplines: Names = ("Algebra", "Cooking")
    """Names of disciplines, branches or fields to grow, or `all`."""
    teacher: str = "smollm2"
    """Who answers: a local model, openai:NAME, scripted, or scripted:defects."""
    turns: int = Field(0, ge=0, le=2)
    """2: free text, then the same as JSON; 1: JSON at once; 0: 1 for a local teacher, which a grammar holds, else 2."""
    sessions: int = Field(6, ge=1)
    """Most sessions that a one-turn request asks for, and most that are kept of a syllabus."""
    ledger: Path | None = None
    """File of the work ledger; give the same one again to add to a data set. By default it lies in the run directory."""
    fsync: Literal["normal", "full"] = "normal"
    """normal: a reply survives any kill; full: a power cut too, and every reply waits for the disk."""
    again_when_cut: int | None = Field(None, ge=0)
    """How often a reply that its limit cut off, or an empty one, is asked for again, the last time with twice the limit; by
    default 2, and 0 for a local teacher."""
    concurrency: int = Field(16, ge=1)
    """Most requests in flight."""
    shard: str = ""
    """i/n: only the i-th of n parts of the disciplines; merge the ledgers of all parts with `tenfold glan merge`."""
    workers: int = Field(0, ge=0)
    """Ray workers among whom the disciplines are dealt out; 0 asks from this process. Needs tenfold[scale]."""
    batch_in: Paths = ()
    """Result files of a provider's batches; their replies go into the ledger first."""
    batch_out: Path | None = None
    """Send nothing; write what is to be asked next as a file in OpenAI's Batch format."""
    dry_run: bool = False
    """Ask nothing; estimate calls, tokens and, with prices, money."""
    pilot: int = Field(0, ge=0)
    """With dry_run: ask so many calls of each kind first, to estimate by their replies, which are kept; 8 do."""


def settled(config: GenerateConfig) -> GenerateConfig:
    """The settings with what depends on the teacher: a local one is asked for JSON at once, less hot and more brief."""
    local = is_local(config.teacher)
    changes: dict[str, object] = {"turns": config.turns or (1 if local else 2)}
    if local:
        changes |= {name: value for name, value in LOCAL.items() if getattr(config, name) is None}
    return config.model_copy(update=changes)
