"""Provider batch files: what is to be asked as JSON lines in OpenAI's Batch format, and its results into the ledger.

A batch holds every call whose parents are known, so a tree takes a few of them: subjects, syllabi, questions, answers, each
with its second turn or repair. `custom_id` is kind and key of the call, so the results may come in any order, in any
number of files, or twice.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.llm import completions
from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS, result_of
from tenfold.systems.glan.pair_files import write_rows
from tenfold.systems.glan.planner import Call

URL = "/v1/chat/completions"


@dataclass(frozen=True)
class TakenIn:
    """What a results file held."""

    replies: int
    failures: int


def write_batch(path: Path, calls: Iterable[Call], model: str) -> int:
    """Writes the calls as requests to a model; returns how many."""
    return write_rows(path, (_line(call, model) for call in calls))


def _line(call: Call, model: str) -> dict[str, Any]:
    body = completions.payload(model, call.request, is_openai=True)
    return {"custom_id": f"{call.kind}:{call.key}", "method": "POST", "url": URL, "body": body}


def take_in(path: Path, ledger: Ledger) -> TakenIn:
    """Files a provider's results in the ledger; what failed is asked again in a later batch.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no result of a batch of ours, with its number.
    """
    replies = failures = 0
    for number, row in enumerate(jsonl.read(path), 1):
        kind, key, response = _parts(row, f"{path} line {number}")
        try:
            reply = _reply(response)
        except ProviderError as failure:
            ledger.fail(kind, key, f"batch: {failure}")
            failures += 1
            continue
        ledger.put(kind, key, result_of(reply, prompt_tokens=0))
        replies += 1
    return TakenIn(replies, failures)


def _parts(row: Any, where: str) -> tuple[str, str, Any]:
    """Kind and key of the call, and what the provider says of it."""
    name = row.get("custom_id") if isinstance(row, dict) else None
    kind, _, key = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in KINDS or not key:
        raise ConfigError(f"{where} is no result of a batch of ours; give the provider's output file")
    return kind, key, row.get("response") if not row.get("error") else {"body": row["error"]}


def _reply(response: Any) -> ChatReply:
    if not isinstance(response, dict) or response.get("status_code") != 200:
        raise ProviderError("server", str(response)[:200])
    return completions.read(json.dumps(response.get("body")), ChatRequest(()))
