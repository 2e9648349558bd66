"""The verb `show`: a text cut into chunks, with its sentinels and the mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.sentinel.bases import open_base, sentinel_ids
from tenfold.systems.sentinel.layout import Layout, insert
from tenfold.systems.sentinel.rules import Meta, Rule, visible
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

DRAWN = 160
"""Entries of the mask that are kept for drawing."""
MARKS = {1: "◆", 2: "◈"}
"""A sentinel of a chunk, and of a paragraph, in the terminal."""


class ShowConfig(Config):
    """Show how a text is cut, where its sentinels stand, and who sees whom."""

    text: str = ""
    """The text itself; or give a file."""
    file: Path | None = None
    """A text file."""
    model: str = "smollm2"
    """Whose tokenizer cuts the text: an alias, stories260k, tiny, a folder or a hub id."""
    sentinel: SentinelConfig = parse(SentinelConfig, {"raw": "window", "window": 32, "max_chunk": 32, "block": 8})
    """How sentinels are placed and read; by default a small window, so that the drawing shows it."""
    width: int = Field(100, ge=20)
    """Columns of the drawing in the terminal."""


def show(config: ShowConfig, run: Run) -> Metrics:
    """Cuts the text, draws it, and keeps what the page draws."""
    base = open_base(config.model, dtype="bf16")
    segmenter = Segmenter(config.sentinel, base.codec.pieces, sentinel_ids(base, config.sentinel))
    text = _text(config)
    ids = base.codec.encode(text)
    layout = insert(ids, segmenter)
    if not layout.num_sentinels:
        raise ConfigError(
            f"the text of {len(ids)} tokens has no boundary under chunker {config.sentinel.chunker}; "
            "give a longer text, or sentinel.chunker=fixed:16"
        )
    pieces = [_piece(layout, place, base.codec.pieces) for place in range(len(layout))]
    seen = who_sees_whom(layout, config.sentinel, min(DRAWN, len(layout)))
    if "layout" not in run.rows:
        run.add("layout", {"pieces": pieces, "level": list(layout.level), "c": list(layout.c), "seen": seen})
    if run.live:
        run.live.write(drawing(pieces, layout, seen, config.width) + "\n")
    sizes = [layout.c.count(chunk) for chunk in sorted(set(layout.c))]
    return {
        "tokens": len(ids),
        "sentinels": layout.num_sentinels,
        "chunks": len(sizes),
        "longer_by": layout.num_sentinels / len(ids),
        "chunker": config.sentinel.chunker,
        "seen_share": sum(map(sum, seen)) / (len(seen) * (len(seen) + 1) / 2),
    }


def who_sees_whom(layout: Layout, config: SentinelConfig, size: int) -> list[list[int]]:
    """The mask's first `size` entries as 0 and 1."""
    meta = Meta.of([layout])[:, :size]
    return visible(meta, meta, Rule.of(config))[0].int().tolist()


def drawing(pieces: Sequence[str], layout: Layout, seen: Sequence[Sequence[int]], width: int) -> str:
    """Chunks line by line, then the mask with two rows in one line of half blocks."""
    lines, line = [], ""
    for piece, level in zip(pieces, layout.level, strict=True):
        line += MARKS[level] if level else piece.replace("\n", "⏎")
        if level:
            lines.append(line)
            line = ""
    lines += [line] if line else []
    size = min(len(seen), width)
    blocks = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
    rows = [list(row[:size]) for row in seen[:size]] + [[0] * size]
    mask = ["".join(blocks[a, b] for a, b in zip(rows[k], rows[k + 1], strict=True)) for k in range(0, size, 2)]
    return "\n".join([*lines, "", f"who (down) sees whom (across), first {size} entries:", *mask])


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['tokens']} tokens in {metrics['chunks']} chunks ({metrics['chunker']}), {metrics['sentinels']} "
        f"sentinels: {metrics['longer_by']:.1%} longer; {metrics['seen_share']:.0%} of the causal mask is seen"
    )


def _text(config: ShowConfig) -> str:
    if config.text and config.file:
        raise ConfigError("got both text and file; give one")
    if config.file and not config.file.is_file():
        raise ConfigError(f"no file {str(config.file)!r}; give the path of a text file")
    text = config.file.read_text(encoding="utf-8") if config.file else config.text
    if not text.strip():
        raise ConfigError("the text is empty; give --text or --file with some words in it")
    return text


def _piece(layout: Layout, place: int, pieces: Sequence[bytes]) -> Any:
    return MARKS[layout.level[place]] if layout.level[place] else pieces[layout.ids[place]].decode(errors="replace")
