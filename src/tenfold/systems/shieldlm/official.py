"""The paper's own prompts: read once from a checkout of its code, without running it, and kept in the user's cache.

`create_ipt` of `infer_shieldlm.py` builds one string per language by an f-string, puts rules in by replacing a sentence, and
wraps the result for a model family. `change_label_first` of `train_code/sft_data_process.py` holds the sentences of the
other order. Their syntax trees are read; only constants and the names of parameters are taken.
"""

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder

FILE, FUNCTION = "infer_shieldlm.py", "create_ipt"
ORDER_FILE, ORDER_FUNCTION = "train_code/sft_data_process.py", "change_label_first"
HOW = "run `tenfold shieldlm import-prompts CHECKOUT` on a checkout of thu-coai/ShieldLM first"


def official_text(query: str, response: str, rules: Sequence[str], lang: str, order: str) -> str:
    """The unwrapped prompt of the published code.

    Raises:
        MissingArtifactError: no prompts have been imported.
    """
    kept = _read()[lang]
    text = _filled(kept["text"], {"query": query, "response": response})
    numbered = "\n".join(f"{number}. {rule}" for number, rule in enumerate(rules, 1))
    text = text.replace(kept["anchor"], _filled(kept["with_rules"], {"rules": numbered})) if rules else text
    if order == "analysis-first":
        label_first, analysis_first = kept["orders"]
        assert label_first in text, "the two files of the checkout disagree about the order's sentence"
        text = text.replace(label_first, analysis_first)
    return text


def import_prompts(checkout: Path) -> dict[str, Any]:
    """Reads the prompts of a checkout into the cache; returns what was kept, with its checksum.

    Raises:
        MissingArtifactError: the checkout lacks the file.
        ConfigError: the function is not built as we know it.
    """
    sources = [_source(checkout, name) for name in (FILE, ORDER_FILE)]
    kept = read_function(sources[0])
    for lang, pair in read_orders(sources[1]).items():
        kept[lang]["orders"] = pair
    kept["source_sha256"] = hashlib.sha256("".join(sources).encode()).hexdigest()
    atomic.write_json(_place(), kept)
    return kept


def read_function(source: str) -> dict[str, Any]:
    """Per language: the text, the sentence that rules replace and what replaces it; parts are strings or {name}."""
    try:
        function = _function(source, FUNCTION)
        branch = next(node for node in function.body if isinstance(node, ast.If))
        return {"zh": _language(branch.body), "en": _language(branch.orelse)}
    except (SyntaxError, StopIteration, AttributeError, ValueError) as error:
        raise _unknown(FUNCTION, error) from None


def read_orders(source: str) -> dict[str, tuple[str, str]]:
    """Per language: the sentences that ask for the label first, and those that ask for the analysis first."""
    try:
        calls = [
            node.args
            for node in ast.walk(_function(source, ORDER_FUNCTION))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "replace"
        ]
        pairs = [(ast.literal_eval(new), ast.literal_eval(old)) for old, new in calls]
        return {"zh" if "[答案]" in new else "en": (new, old) for new, old in pairs}
    except (SyntaxError, StopIteration, ValueError) as error:
        raise _unknown(ORDER_FUNCTION, error) from None


def _function(source: str, name: str) -> ast.FunctionDef:
    return next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == name)


def _source(checkout: Path, name: str) -> str:
    path = checkout / name
    if not path.is_file():
        raise MissingArtifactError(f"no {name} in {str(checkout)!r}; give a checkout of thu-coai/ShieldLM")
    return path.read_text(encoding="utf-8")


def _unknown(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"{name} is not built as we know it ({type(error).__name__}); take a checkout of 2024")


def _language(statements: Sequence[ast.stmt]) -> dict[str, Any]:
    text = next(node.value for node in statements if isinstance(node, ast.Assign))
    rules = next(node for node in statements if isinstance(node, ast.If))
    call = next(node for node in ast.walk(rules) if isinstance(node, ast.Call))
    anchor, with_rules = call.args
    return {"text": _parts(text), "anchor": ast.literal_eval(anchor), "with_rules": _parts(with_rules)}


def _parts(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if not isinstance(node, ast.JoinedStr):
        raise ValueError(type(node).__name__)
    return [_part(value) for value in node.values]


def _part(value: ast.expr) -> Any:
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
        return {"name": value.value.id}
    raise ValueError(type(value).__name__)


def _filled(parts: Sequence[Any], values: Mapping[str, str]) -> str:
    return "".join(part if isinstance(part, str) else values[part["name"]] for part in parts)


def _place() -> Path:
    return cache_folder() / "shieldlm" / "official-prompts.json"


def _read() -> dict[str, Any]:
    if not _place().is_file():
        raise MissingArtifactError(f"the official prompts are not here; {HOW}")
    return json.loads(_place().read_text(encoding="utf-8"))
