"""From a drafter's name and options to a drafter, for settings and the command line.

Options are written `key=value`; `index=FILE` names a suffix index. Drafters that run a network are made
for one target and one set of generation settings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenfold.core.config import parse, parse_override
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.core.registry import Registry
from tenfold.nn.drafting import Drafter
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.drafters import DRAFTERS, TARGET_DRAFTERS
from tenfold.systems.specdec.index import load_index

_HERE = "tenfold.systems.specdec.drafters"

OPTIONS = Registry(
    "drafter",
    {
        "model": f"{_HERE}.model:ModelDrafterConfig",
        "early_exit": f"{_HERE}.early_exit:EarlyExitConfig",
        "layer_skip": f"{_HERE}.early_exit:LayerSkipConfig",
        "twin": f"{_HERE}.model:ModelDraftConfig",
        "medusa": f"{_HERE}.heads:HeadDrafterConfig",
        "eagle": f"{_HERE}.heads:HeadDrafterConfig",
    },
)
"""The options of each drafter that runs a network, as a config class."""


def check(name: str) -> str:
    """The name, or UnknownNameError if no drafter has it."""
    if name not in DRAFTERS and name not in TARGET_DRAFTERS:
        raise UnknownNameError("drafter", name, [*DRAFTERS, *TARGET_DRAFTERS])
    return name


def make(name: str, options: Sequence[str], loaded: LoadedModel, settings: GenerationSettings) -> Drafter:
    """A drafter for one target.

    Raises:
        UserError: unknown name, or an option that the drafter does not have.
    """
    table = options_table(options)
    if check(name) in TARGET_DRAFTERS:
        config = parse(OPTIONS.load(name), table, where=f"drafter {name}")
        return TARGET_DRAFTERS.load(name)(loaded, settings, config)
    if "index" in table:
        table["index"] = load_index(Path(table["index"]), loaded.tokenizer)
    try:
        return DRAFTERS.load(name)(**table)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"drafter {name} does not take {list(table)}: {error}") from None


def options_table(options: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as a table.

    Raises:
        ConfigError: a word is not of that form.
    """
    pairs = [parse_override(option) for option in options]
    return {".".join(path): value for path, value in pairs}
