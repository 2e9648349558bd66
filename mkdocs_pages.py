"""The pages of the documentation site: those in docs/, the repository's own, one for each system, and the reference.

Nothing is written twice: a system's page is the README in its home, the reference is made of the docstrings. Links between
files of the repository become links between pages; a link to a file that is no page keeps its text alone.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
PACKAGE = ROOT / "src" / "tenfold"
TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)]*)?\)")


def systems() -> dict[str, str]:
    """The README of each home, and the page that it becomes."""
    readmes = sorted((PACKAGE / "systems").glob("*/README.md"))
    return {str(path.relative_to(ROOT)): f"systems/{path.parent.name}.md" for path in readmes}


def tutorials_and_more() -> dict[str, str]:
    """The files in docs/, which are pages already."""
    return {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}


def packages() -> dict[str, list[str]]:
    """The reference: each page with its modules."""
    homes = [path for path in (PACKAGE / "systems").iterdir() if (path / "__init__.py").is_file()]
    layers = [PACKAGE / name for name in ("core", "store", "llm", "nn", "train", "evals")]
    return {f"reference/{path.name}.md": list(modules(path)) for path in [*layers, *sorted(homes)]}


def modules(package: Path) -> Iterator[str]:
    """The public modules below a package, as Python names them."""
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(ROOT / "src").with_suffix("")
        parts = name.parts[:-1] if name.name == "__init__" else name.parts
        if not any(part.startswith("_") for part in parts):
            yield ".".join(parts)


PAGES = TOP | systems() | tutorials_and_more()
SOURCES = {page: source for source, page in PAGES.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The order of the pages."""
    others = ["peers.md", "scale.md", "architecture.md", "add-a-system.md", "contributing.md", "log.md", "changelog.md"]
    tutorials = [page for page in tutorials_and_more().values() if page not in others]
    config.nav = [
        {"Tenfold": "index.md"},
        {"Tutorials": tutorials},
        {"Systems": list(systems().values())},
        {"The house": others},
        {"Reference": [{page.split("/")[1].removesuffix(".md"): page} for page in packages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in docs/."""
    for source, page in (TOP | systems()).items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, names in packages().items():
        title = page.split("/")[1].removesuffix(".md")
        files.append(File.generated(config, page, content="\n\n".join([f"# {title}", *(f"::: {name}" for name in names)])))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files into links between pages."""
    source = SOURCES.get(page.file.src_uri)
    return markdown if source is None else LINK.sub(lambda link: _linked(link, source, page.file.src_uri), markdown)


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    """Every page of the repository has its place."""
    missing = set(PAGES.values()) - {page.file.src_uri for page in nav.pages}
    assert not missing, f"pages without a place: {sorted(missing)}"
    return nav


def _linked(link: re.Match[str], source: str, page: str) -> str:
    mark, text, target, anchor = link.groups()
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    goal = os.path.normpath(os.path.join(os.path.dirname(source), target))  # noqa: PTH118, PTH120
    if not (ROOT / goal).exists():
        return link[0]
    if goal not in PAGES:
        return text if not mark else link[0]
    return f"{mark}[{text}]({os.path.relpath(PAGES[goal], os.path.dirname(page))}{anchor or ''})"  # noqa: PTH120
