"""The verb `taxonomy`: show and check one, change it, import one, have it proposed by a model, or put it to the vote."""

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from tenfold.core.config import Config, Names, Paths
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store import atomic
from tenfold.store.ledger import Ledger
from tenfold.store.runs import Run
from tenfold.systems.glan.editing import added, removed
from tenfold.systems.glan.importing import covered_by, read_published
from tenfold.systems.glan.proposing import propose
from tenfold.systems.glan.taxonomy import BUNDLED, EVERY, choose, load_taxonomy
from tenfold.systems.glan.teachers import open_teacher
from tenfold.systems.glan.tree import Discipline
from tenfold.systems.glan.voting import as_toml, read_votes, sheet, tally


class TaxonomyConfig(Config):
    """Show, check, change, import, propose or vote on a taxonomy."""

    action: Literal["show", "add", "remove", "import", "build", "vote-sheet", "tally"] = "show"
    """show; add or remove a node; import a published one; build one by asking a teacher; vote-sheet: write the form for
    annotators; tally: keep what a majority keeps."""
    taxonomy: str = BUNDLED
    """bundled, core126 (126 of the bundled disciplines), or a TOML file of your own."""
    node: str = ""
    """For add: "Field > Branch > Discipline: topic; topic"; for remove: a path, or a name that is the only one."""
    source: Path | None = None
    """For import: a CSV file of OpenAlex's topics or of ISCED-F; the result keeps that file's licence."""
    disciplines: Names = (EVERY,)
    """Names of disciplines, branches or fields, or `all`."""
    votes: Paths = ()
    """For tally: the files that the form saved, one for each annotator."""
    teacher: str = "smollm2"
    """For build: who is asked: a local model, openai:NAME, or scripted."""
    queries: int = Field(3, ge=1)
    """For build: how often each of three wordings is asked."""
    concurrency: int = Field(16, ge=1)
    """For build: most requests in flight."""
    out: Path | None = None
    """Where to write the new taxonomy or the form; by default into the run directory."""
    seed: int = 0
    """For build: another seed is another proposal."""


def survey(config: TaxonomyConfig, run: Run) -> Metrics:
    """Does what the action says, and counts what the taxonomy holds afterwards.

    Raises:
        UserError: the file is no taxonomy, a name is unknown, or a vote cannot be read.
    """
    found, extra = _acted(config, run)
    for discipline in found:
        if discipline.path not in run.rows:
            run.add(discipline.path, {"kind": discipline.kind, "scope": list(discipline.scope)})
    kinds = Counter(discipline.kind or "unstated" for discipline in found)
    return extra | {
        "disciplines": len(found),
        "fields": dict(Counter(discipline.field for discipline in found)),
        "branches": len({(discipline.field, discipline.branch) for discipline in found}),
        "kinds": dict(sorted(kinds.items())),
    }


def _acted(config: TaxonomyConfig, run: Run) -> tuple[tuple[Discipline, ...], Metrics]:
    if config.action == "build":
        return _built(config, run)
    if config.action == "import":
        return _imported(config, run)
    if config.action in ("add", "remove"):
        change = added if config.action == "add" else removed
        changed = change(load_taxonomy(config.taxonomy), config.node)
        return changed, {"file": _written(changed, config, run)}
    chosen = choose(load_taxonomy(config.taxonomy), config.disciplines)
    if config.action == "vote-sheet":
        path = config.out or run.folder / "votes.html"
        atomic.write_text(path, sheet(chosen))
        return chosen, {"file": str(path)}
    if config.action == "tally":
        if not config.votes:
            raise ConfigError("there are no votes to count; give votes=FILE,FILE, as the form saved them")
        votes = read_votes(config.votes)
        kept, against = tally(chosen, votes)
        written = _written(kept, config, run)
        return kept, {"annotators": len(votes), "removed": len(chosen) - len(kept), "against": against, "file": written}
    return chosen, {}


def _built(config: TaxonomyConfig, run: Run) -> tuple[tuple[Discipline, ...], Metrics]:
    teacher = open_teacher(config.teacher, concurrency=config.concurrency)
    with Ledger(run.folder / "ledger.sqlite") as ledger:
        proposal = propose(teacher, ledger, queries=config.queries, concurrency=config.concurrency, seed=config.seed)
    if not proposal.disciplines:
        raise ConfigError(f"{config.teacher} named no discipline that could be read; take a more capable teacher")
    found = tuple(proposal.disciplines)
    return found, {"unread_lines": proposal.unread_lines, "file": _written(found, config, run)}


def _imported(config: TaxonomyConfig, run: Run) -> tuple[tuple[Discipline, ...], Metrics]:
    if config.source is None:
        raise ConfigError("there is nothing to import; give source=FILE, a CSV file of OpenAlex's topics or of ISCED-F")
    found = read_published(config.source)
    covered = covered_by(found, load_taxonomy(config.taxonomy))
    names = {discipline.name for discipline in found}
    share = {"covered": len(covered), "names": len(names), "not_covered": sorted(names - set(covered))}
    return found, share | {"file": _written(found, config, run)}


def _written(disciplines: tuple[Discipline, ...], config: TaxonomyConfig, run: Run) -> str:
    path = config.out or run.folder / "taxonomy.toml"
    atomic.write_text(path, as_toml(disciplines))
    return str(path)


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    fields = [f"  {number:4d}  {field}" for field, number in metrics["fields"].items()]
    by_vote = [f"removed by vote: {metrics['removed']}"] if "removed" in metrics else []
    if "covered" in metrics:
        by_vote = [f"{metrics['covered']} of {metrics['names']} names are much like one of the other taxonomy"]
    written = [f"written: {metrics['file']}"] if "file" in metrics else []
    return "\n".join([f"{metrics['disciplines']} disciplines in {len(fields)} fields", *fields, *by_vote, *written])
