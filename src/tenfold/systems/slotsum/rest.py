"""Wikidata over the web as a knowledge base: polite, patient, and asked only once for each answer.

It is off unless named. Requests carry a user agent with a contact, wait as long as `Retry-After` says, back off when
the server is busy, and use at most 60 seconds of its time in any 60 seconds. Answers are kept on disk.
"""

import hashlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.store import atomic
from tenfold.systems.slotsum.knowledge import Fact
from tenfold.systems.slotsum.wikidata import FALLBACK, PROPERTIES, facts_of, statement_rows

HOST = "https://www.wikidata.org"
ATTEMPTS = 6
FIRST_WAIT_S = 1.0
QUERY_BUDGET_S = 60.0
BATCH = 50
BUSY = (429, 500, 502, 503, 504)

Fetch = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, str], bytes]]
"""(address, headers) -> (status, headers, body)."""


class WikidataRest:
    """The `KnowledgeBase` behind www.wikidata.org."""

    def __init__(
        self,
        contact: str,
        cache: Path,
        *,
        fetch: Fetch | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`contact` is a mail or web address by which the operators can reach you.

        Raises:
            ConfigError: it is no address.
        """
        if "@" not in contact and "://" not in contact:
            raise ConfigError(f"the contact is {contact!r}; give a mail or web address, as Wikidata asks every program to")
        self.headers = {"User-Agent": f"tenfold-slotsum/1 ({contact})", "Accept": "application/json"}
        self.cache = cache
        self._fetch, self._sleep, self._clock = fetch or _fetch, sleep, clock
        self._spent: deque[tuple[float, float]] = deque()
        self._names: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}

    def lookup(self, title: str, lang: str = "en") -> list[str]:
        """Entities whose label, or else alias, is the title."""
        answer = self._api(action="wbsearchentities", search=title, language=lang, type="item", limit="20")
        found = answer.get("search", [])
        wanted = title.casefold()
        by_label = [one["id"] for one in found if str(one.get("label", "")).casefold() == wanted]
        by_alias = [one["id"] for one in found if str(one.get("match", {}).get("text", "")).casefold() == wanted]
        return by_label or by_alias

    def facts(self, entity: str, lang: str = "en") -> list[Fact]:
        document = self._json(f"{HOST}/wiki/Special:EntityData/{urllib.parse.quote(entity)}.json")
        found = document.get("entities", {}).get(entity)
        if found is None:
            return []
        rows = [
            (name, number, rank, text, item, qualifiers)
            for _, name, _, number, rank, snak, text, item, qualifiers in statement_rows(found)
            if snak == "value"
        ]
        self._learn_names({name for name, *_ in rows} | {row[4] for row in rows if row[4]}, lang)
        return facts_of(rows, lambda item: self._names[lang, item][0], lambda item: self._names[lang, item][1])

    def _learn_names(self, items: set[str], lang: str) -> None:
        """Labels and aliases of items and properties, fifty at a time."""
        unknown = sorted(item for item in items if (lang, item) not in self._names)
        languages = "|".join(dict.fromkeys([*FALLBACK.get(lang, (lang,)), "en"]))
        for start in range(0, len(unknown), BATCH):
            batch = unknown[start : start + BATCH]
            answer = self._api(action="wbgetentities", ids="|".join(batch), props="labels|aliases", languages=languages)
            for item in batch:
                self._names[lang, item] = _names(answer.get("entities", {}).get(item, {}), item, lang)

    def _api(self, **fields: str) -> dict[str, Any]:
        return self._json(f"{HOST}/w/api.php?{urllib.parse.urlencode({**fields, 'format': 'json'})}")

    def _json(self, address: str) -> dict[str, Any]:
        """The answer of an address, from the cache if it is there."""
        kept = self.cache / f"{hashlib.sha256(address.encode()).hexdigest()}.json"
        if kept.exists():
            return json.loads(kept.read_text(encoding="utf-8"))
        answer = json.loads(self._asked(address))
        atomic.write_json(kept, answer)
        return answer

    def _asked(self, address: str) -> bytes:
        """Asks until there is an answer.

        Raises:
            ApparatusError: the server refuses, or is still busy after the last attempt.
        """
        problem = ""
        for attempt in range(ATTEMPTS):
            self._keep_to_budget()
            start = self._clock()
            status, headers, body = self._fetch(address, self.headers)
            self._spent.append((start, self._clock() - start))
            if status == 200:
                return body
            problem = f"status {status}"
            if status not in BUSY:
                break
            self._sleep(_retry_after(headers) or FIRST_WAIT_S * 2**attempt)
        raise ApparatusError(f"Wikidata does not answer {address} ({problem}); try again later, or use an index of a dump")

    def _keep_to_budget(self) -> None:
        """Waits while the requests of the last minute have taken a minute of the server's time."""
        while True:
            now = self._clock()
            while self._spent and now - self._spent[0][0] > QUERY_BUDGET_S:
                self._spent.popleft()
            if sum(seconds for _, seconds in self._spent) < QUERY_BUDGET_S:
                return
            self._sleep(max(0.1, self._spent[0][0] + QUERY_BUDGET_S - now))


def _names(entity: Mapping[str, Any], item: str, lang: str) -> tuple[str, tuple[str, ...]]:
    labels = entity.get("labels") or {}
    order = [*FALLBACK.get(lang, (lang,)), "en", *labels]
    label = next((labels[name]["value"] for name in order if name in labels), PROPERTIES.get(item, item))
    aliases = entity.get("aliases") or {}
    return label, tuple(one["value"] for several in aliases.values() for one in several)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    written = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(written) if written.isdigit() else None


def _fetch(address: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
    request = urllib.request.Request(address, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), b""
    except (urllib.error.URLError, TimeoutError) as error:
        raise ApparatusError(f"Wikidata cannot be reached ({error}); use an index of a dump, or try again later") from None
