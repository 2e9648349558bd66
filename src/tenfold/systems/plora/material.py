"""What every unit of a comparison reads: rows to train on, rows to measure on, and fixed text that nobody trains on."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import DATA_SETS, data_folder, find_data
from tenfold.systems.plora.data import gsm8k_rows, load_rows
from tenfold.systems.plora.profiles import CompareConfig
from tenfold.train.corpora import text_blocks
from tenfold.train.encoding import EncodedRow, encode_all
from tenfold.train.rows import Row

START_SECONDS = 25
"""What a unit needs before its first step: a new process, the libraries, the model."""
DEARER = 1.1
"""How much longer than LoRA's a step takes, over all methods."""
PADDING = 1.25
"""Tokens of a batch with its padding, for one token of its rows."""
OPENSTAX = "text/openstax_economics/economics_modules.txt"


@dataclass(frozen=True)
class Material:
    """Encoded rows by what they are for, and the rows to answer by generating."""

    train: list[EncodedRow]
    probe: list[EncodedRow]
    dev: list[EncodedRow]
    text: list[EncodedRow]
    questions: list[Row]


def load_material(config: CompareConfig, tokenizer: PreTrainedTokenizerBase) -> Material:
    """The same rows for the same settings, whichever unit asks.

    Raises:
        ConfigError: fewer rows than one optimizer step takes fit into `minutes`.
    """
    name = data_name(config)
    rows, held_out = load_rows(name)
    train = encode_all(rows[: config.rows], tokenizer, config.max_length)
    dev = encode_all(held_out[: config.dev_rows], tokenizer, config.max_length)
    text = text_blocks(fixed_text(), tokenizer, length=config.text_length, count=config.text_blocks)
    train = train[: rows_in_time(config, train, dev, text)]
    questions = gsm8k_rows(find_data("gsm8k")) if name == "gsm8k" and config.exact_rows else held_out
    return Material(train, train[: config.probe_rows], dev, text, questions[: config.exact_rows])


def data_name(config: CompareConfig) -> str:
    """Which rows `auto` means here."""
    is_here = (data_folder() / DATA_SETS["gsm8k-train"]).exists()
    return ("gsm8k" if is_here else "arithmetic") if config.data == "auto" else config.data


def fixed_text() -> str:
    """OpenStax's economics (CC BY 4.0) where it lies on this machine, else a text of our own."""
    openstax = data_folder() / OPENSTAX
    return openstax.read_text(encoding="utf-8") if openstax.exists() else own_text()


def own_text() -> str:
    """The text that ships with this home."""
    return (files("tenfold.systems.plora") / "fixed_text.txt").read_text(encoding="utf-8")


def rows_in_time(
    config: CompareConfig, train: Sequence[EncodedRow], dev: Sequence[EncodedRow], text: Sequence[EncodedRow]
) -> int:
    """How many training rows the table can take in `minutes`, a whole number of batches."""
    if config.minutes is None:
        return len(train)
    probe = train[: config.probe_rows]
    evaluation = num_tokens([*probe, *dev, *text]) / config.evaluation_tokens_per_second
    rest = config.minutes * 60 - (config.num_units + 1) * (START_SECONDS + evaluation)
    tokens = rest / (config.num_units * DEARER) * config.train_tokens_per_second
    count = int(tokens / (fmean(len(row.ids) for row in train) * PADDING * config.epochs))
    count = min(len(train), count) // config.batch_size * config.batch_size
    if count < config.batch_size:
        raise ConfigError(
            f"minutes is {config.minutes:g}, but {config.num_units} trainings need more before their first step; "
            "give more minutes, fewer methods or seeds, or smaller probe_rows and dev_rows"
        )
    return count


def num_tokens(rows: Sequence[EncodedRow]) -> int:
    """Tokens of all rows, prompts included."""
    return sum(len(row.ids) for row in rows)
