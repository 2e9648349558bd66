"""A knowledge base by what the user wrote: an infobox file, an index of a Wikidata dump, or Wikidata itself."""

from pathlib import Path

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.slotsum.knowledge import KnowledgeBase, read_boxes
from tenfold.systems.slotsum.rest import WikidataRest
from tenfold.systems.slotsum.wikidata import WikidataIndex

ACCEPTED = "a .json or .jsonl file of infoboxes, a .box file, an index (.sqlite), or `wikidata:you@example.org`"
REST = "wikidata:"


def open_knowledge(name: str, cache: Path) -> KnowledgeBase:
    """The knowledge base of a name; `wikidata:CONTACT` asks the web, says who asks, and keeps its answers in `cache`.

    Raises:
        MissingArtifactError: no such file.
        ConfigError: a kind of file that holds no knowledge base.
    """
    if name.startswith(REST):
        return WikidataRest(name.removeprefix(REST), cache)
    path = Path(name)
    if not path.exists():
        raise MissingArtifactError(f"no knowledge base {name!r}; give {ACCEPTED}")
    if path.suffix in (".sqlite", ".db"):
        return WikidataIndex(path)
    if path.suffix in (".json", ".jsonl", ".box"):
        return read_boxes(path)
    raise ConfigError(f"{path.name} is no knowledge base; give {ACCEPTED}")
