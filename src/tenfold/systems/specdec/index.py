"""An index for the suffix drafter: the suffix automaton of a corpus, built once, in arrays.

In: text files and the tokenizer they will be drafted with. Out: `<name>.npz` with the automaton, and beside it
`<name>.json`, the manifest: licence, sources with their checksums and token counts, digest of the tokenizer. An index
belongs to one tokenizer; loading it with another is refused, because its token ids would mean other words.
"""

# S states, E edges (a state, a token, the state it leads to), sorted by state and token
import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from tenfold.core.config import Config, canonical_json, parse
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic
from tenfold.store.artifacts import sha256
from tenfold.systems.specdec.drafters.earlier_requests import SEPARATOR
from tenfold.systems.specdec.drafters.suffix_automaton import SuffixAutomaton


class Source(Config):
    """One text file of the corpus."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Checksum of the file."""
    num_tokens: int
    """Tokens in the file."""


class Manifest(Config):
    """What an index was made from."""

    licence: str
    """Licence of the corpus, as its owner names it."""
    tokenizer_digest: str
    """Digest of the vocabulary whose ids the index holds."""
    vocab_size: int
    """Number of token ids of the tokenizer."""
    num_tokens: int
    """Tokens of all sources."""
    index_sha256: str
    """Checksum of the .npz file."""
    sources: tuple[Source, ...]
    """The text files, in the order given."""


@dataclass(frozen=True)
class IndexedAutomaton:
    """A suffix automaton that no longer grows; int32 arrays, as memory views because these yield Python's own numbers."""

    length: memoryview
    link: memoryview
    count: memoryview
    newest: memoryview
    first_edge: memoryview
    """[S + 1]: where each state's edges begin."""
    token: memoryview
    """[E]"""
    target: memoryview
    """[E]"""

    def step(self, state: int, token: int) -> int | None:
        end = self.first_edge[state + 1]
        edge = bisect_left(self.token, token, self.first_edge[state], end)
        return self.target[edge] if edge < end and self.token[edge] == token else None

    def followers(self, state: int) -> Mapping[int, int]:
        edges = slice(self.first_edge[state], self.first_edge[state + 1])
        return dict(zip(self.token[edges].tolist(), self.target[edges].tolist(), strict=True))


def build_index(
    sources: Sequence[Path], target: Path, tokenizer: PreTrainedTokenizerBase, *, licence: str, max_tokens: int = 1_000_000
) -> Manifest:
    """Writes the index of `sources` to `target` (.npz) and its manifest beside it.

    Raises:
        ConfigError: no source, no licence, a source that is not UTF-8 text, or more than `max_tokens` tokens in all.
        MissingArtifactError: a source that does not exist.
    """
    if not sources or not licence.strip():
        raise ConfigError("an index needs at least one text file and the licence of the corpus; give both")
    automaton, entries = SuffixAutomaton(), []
    for path in sources:
        tokens = _tokens(path, tokenizer)
        entries.append(Source(name=path.name, sha256=sha256(path), num_tokens=len(tokens)))
        if (total := sum(entry.num_tokens for entry in entries)) > max_tokens:
            raise ConfigError(
                f"{path} brings the corpus to {total} tokens, but max_tokens is {max_tokens}; give less text or raise it"
            )
        automaton.extend([*tokens, SEPARATOR])
    _write_arrays(target, in_arrays(automaton))
    manifest = Manifest(
        licence=licence,
        tokenizer_digest=tokenizer_digest(tokenizer),
        vocab_size=len(tokenizer),
        num_tokens=sum(entry.num_tokens for entry in entries),
        index_sha256=sha256(target),
        sources=tuple(entries),
    )
    atomic.write_json(manifest_path(target), manifest.model_dump(mode="json"))
    return manifest


def load_index(path: Path, tokenizer: PreTrainedTokenizerBase) -> IndexedAutomaton:
    """The automaton of an index.

    Raises:
        MissingArtifactError: the index or its manifest is not there.
        ConfigError: it was built with another tokenizer, or one of its two files was changed.
    """
    manifest = read_manifest(path)
    if manifest.tokenizer_digest != tokenizer_digest(tokenizer):
        raise ConfigError(
            f"index {path} has another tokenizer ({manifest.vocab_size} ids, digest {manifest.tokenizer_digest}); "
            f"the model's has {len(tokenizer)} ids and digest {tokenizer_digest(tokenizer)}; build the index again with it"
        )
    if sha256(path) != manifest.index_sha256:
        raise ConfigError(f"index {path} does not match its manifest; build it again")
    with np.load(path, allow_pickle=False) as arrays:
        return IndexedAutomaton(**{name: arrays[name].data for name in arrays.files})


def read_manifest(path: Path) -> Manifest:
    """The manifest beside the index at `path`."""
    if not path.is_file() or not manifest_path(path).is_file():
        raise MissingArtifactError(f"no index {path} with a manifest {manifest_path(path).name}; build one from text files")
    table: dict[str, Any] = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    return parse(Manifest, table, where=str(manifest_path(path)))


def manifest_path(path: Path) -> Path:
    return path.with_suffix(".json")


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hexadecimal digits that name a vocabulary: every token with its id."""
    return hashlib.sha256(canonical_json(tokenizer.get_vocab()).encode()).hexdigest()[:16]


def in_arrays(automaton: SuffixAutomaton) -> IndexedAutomaton:
    """The same automaton in arrays; the followers of a state sorted by token."""
    edges = [edge for followers in automaton.next for edge in sorted(followers.items())]
    first_edge = _array([0, *np.cumsum([len(followers) for followers in automaton.next])])
    return IndexedAutomaton(
        length=_array(automaton.length),
        link=_array(automaton.link),
        count=_array(automaton.count),
        newest=_array(automaton.newest),
        first_edge=first_edge,
        token=_array([token for token, _ in edges]),
        target=_array([target for _, target in edges]),
    )


def _array(values: Sequence[int]) -> memoryview:
    return np.array(values, dtype=np.int32).data


def _tokens(path: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    try:
        return tokenizer.encode(path.read_text(encoding="utf-8"), add_special_tokens=False)
    except (FileNotFoundError, IsADirectoryError):
        raise MissingArtifactError(f"no text file {str(path)!r}; give the paths of UTF-8 text files") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from None


def _write_arrays(target: Path, automaton: IndexedAutomaton) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        np.savez_compressed(file, **vars(automaton))
