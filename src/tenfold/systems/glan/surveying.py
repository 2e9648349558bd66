"""The verb `taxonomy`: what a taxonomy holds, or which of its disciplines some names mean; one row per discipline."""

from collections import Counter

from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.glan.taxonomy import BUNDLED, EVERY, choose, load_taxonomy


class TaxonomyConfig(Config):
    """Show and check a taxonomy."""

    taxonomy: str = BUNDLED
    """The bundled taxonomy, or a TOML file of your own."""
    disciplines: tuple[str, ...] = (EVERY,)
    """Names of disciplines, branches or fields, or `all`."""


def survey(config: TaxonomyConfig, run: Run) -> Metrics:
    """Reads and checks the taxonomy; raises UserError where it is not one."""
    chosen = choose(load_taxonomy(config.taxonomy), config.disciplines)
    for discipline in chosen:
        if discipline.path not in run.rows:
            run.add(discipline.path, {"kind": discipline.kind, "scope": list(discipline.scope)})
    kinds = Counter(discipline.kind or "unstated" for discipline in chosen)
    return {
        "disciplines": len(chosen),
        "fields": dict(Counter(discipline.field for discipline in chosen)),
        "branches": len({(discipline.field, discipline.branch) for discipline in chosen}),
        "kinds": dict(sorted(kinds.items())),
    }


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    fields = "\n".join(f"  {number:4d}  {field}" for field, number in metrics["fields"].items())
    return f"{metrics['disciplines']} disciplines in {len(metrics['fields'])} fields\n{fields}"
