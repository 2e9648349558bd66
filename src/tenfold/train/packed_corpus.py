"""A corpus ready to pre-train on: documents come in; a tokenizer, packed blocks and held-out blocks go out, on disk.

Text to learn is one stream: documents in shuffled order, each followed by the end token, cut into blocks of one length.
Held-out blocks each come from one document, so that losses can be drawn document by document. Preparing takes a minute,
so it is done once for each set of texts and settings, in the user's cache.
"""

# N blocks, S positions, V tokens of the vocabulary
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.nn import models as named_models
from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder
from tenfold.train.texts import Document, by_name, read_documents, split_documents

END = "<|endoftext|>"
SMALLEST_VOCABULARY = 257
BATCH_DOCUMENTS = 64


class CorpusConfig(Config):
    """Which texts, how they become tokens, and what is held out."""

    sources: Names = ("stdlib",)
    """Texts: stdlib (Python's own sources and documentation), files, or folders, also below the data folder."""
    tokenizer: str = ""
    """A model whose tokenizer is used; left empty, a byte-level BPE is trained on the texts."""
    vocabulary: int = Field(4096, ge=SMALLEST_VOCABULARY)
    """Size of the tokenizer that is trained."""
    length: int = Field(256, ge=8)
    """Tokens in a block."""
    held_out: float = Field(0.05, gt=0, lt=1)
    """Share of each domain's documents that is held out, whole."""
    blocks_per_document: int = Field(8, ge=1)
    """Most blocks that are measured of one held-out document."""
    limit_characters: int | None = Field(None, ge=1000)
    """Use only as many documents, in shuffled order, as this holds."""


@dataclass(frozen=True)
class Corpus:
    """Blocks of token ids to learn [N, S], and those held out with the document and domain of each."""

    tokenizer: PreTrainedTokenizerBase
    blocks_NS: Tensor
    held_out_NS: Tensor
    documents: Sequence[str]
    domains: Sequence[str]
    digest: str

    def token_counts(self) -> Tensor:
        """How often each token occurs in the text to learn, [V]."""
        return torch.bincount(self.blocks_NS.flatten(), minlength=len(self.tokenizer))


def load_corpus(config: CorpusConfig) -> Corpus:
    """The corpus of these settings, prepared now or earlier.

    Raises:
        MissingArtifactError: a source is not there.
        ConfigError: too little text for one block to learn and one held out.
    """
    documents = _limited(read_documents(config.sources), config.limit_characters)
    digest = _digest(documents, config)
    folder = cache_folder() / "corpora" / digest
    atomic.build_folder(folder, lambda scratch: _prepare(documents, config, scratch))
    held_out = json.loads((folder / "held-out.json").read_text(encoding="utf-8"))
    return Corpus(
        PreTrainedTokenizerFast.from_pretrained(folder) if not config.tokenizer else _tokenizer_of(config.tokenizer),
        torch.from_numpy(np.load(folder / "blocks.npy").astype(np.int64)),
        torch.from_numpy(np.load(folder / "held-out.npy").astype(np.int64)),
        held_out["documents"],
        held_out["domains"],
        digest,
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of this size: any text comes back unchanged from its tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=END)


def pack(streams: Iterable[Sequence[int]], end: int, length: int) -> np.ndarray:
    """Token streams, each followed by `end`, as blocks [N, length]; what does not fill the last block is left out."""
    whole = np.concatenate([np.asarray([*ids, end], dtype=np.int32) for ids in streams] or [np.zeros(0, np.int32)])
    count = len(whole) // length
    return whole[: count * length].reshape(count, length)


def _limited(documents: list[Document], limit: int | None) -> list[Document]:
    shuffled = sorted(documents, key=by_name)
    if limit is None:
        return shuffled
    kept, left = [], limit
    for document in shuffled:
        if left > 0:
            kept.append(document)
            left -= len(document.text)
    return kept


def _digest(documents: Sequence[Document], config: CorpusConfig) -> str:
    found = hashlib.sha256(config.digest.encode())
    for document in documents:
        found.update(f"{document.id}\0{document.domain}\0{document.text}\0".encode(errors="replace"))
    return found.hexdigest()[:16]


def _prepare(documents: Sequence[Document], config: CorpusConfig, folder: Path) -> None:
    learned, held_out = split_documents(documents, config.held_out)
    texts = [document.text for document in learned]
    tokenizer = _tokenizer_of(config.tokenizer) if config.tokenizer else train_tokenizer(texts, config.vocabulary)
    end = tokenizer.eos_token_id
    assert isinstance(end, int), end
    blocks = pack(_encoded(tokenizer, texts), end, config.length)
    measured = [
        (document, block)
        for document, ids in zip(held_out, _encoded(tokenizer, [each.text for each in held_out]), strict=True)
        for block in pack([ids], end, config.length)[: config.blocks_per_document]
    ]
    if not len(blocks) or not measured:
        raise ConfigError(
            f"{len(documents)} documents give {len(blocks)} blocks of {config.length} tokens to learn and {len(measured)} "
            "held out; give more text or a smaller length"
        )
    np.save(folder / "blocks.npy", blocks)
    np.save(folder / "held-out.npy", np.stack([block for _, block in measured]))
    names = {"documents": [each.id for each, _ in measured], "domains": [each.domain for each, _ in measured]}
    atomic.write_json(folder / "held-out.json", names)
    tokenizer.save_pretrained(folder)


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    batches = [texts[start : start + BATCH_DOCUMENTS] for start in range(0, len(texts), BATCH_DOCUMENTS)]
    with named_models.quiet():
        return [ids for batch in batches for ids in tokenizer(list(batch), add_special_tokens=False)["input_ids"]]  # pyright: ignore


def _tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    return named_models.load_tokenizer(named_models.resolve(model))
