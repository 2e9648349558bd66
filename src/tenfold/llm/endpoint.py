"""A model behind an OpenAI-compatible endpoint (OpenAI, vLLM, SGLang, llama.cpp, Ollama), on the `openai` SDK.

One request is one attempt: waiting and asking again is `retries`' work, so the SDK's own retries are off. Every
failure is a ProviderError that says its kind; addresses in messages and fingerprints never hold a password.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

import openai

from tenfold.core.errors import UserError
from tenfold.llm import completions
from tenfold.llm.chat import ChatReply, ChatRequest, FailureKind, ProviderError
from tenfold.llm.slots import PerLoop

OPENAI_URL = "https://api.openai.com/v1"
LONGEST_REASON = 300
"""Characters of an endpoint's own words that a failure keeps; some send a whole page."""
STATUS_KINDS: dict[int, FailureKind] = {408: "timeout", 409: "server", 425: "server", 429: "rate_limit"}


class Endpoint:
    """The `ChatModel` of one model name at one address."""

    takes_images = True

    def __init__(
        self, model: str, *, base_url: str | None = None, api_key: str | None = None, timeout_s: float = 60.0
    ) -> None:
        """Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY where they are not given.

        Raises:
            UserError: the address is no URL, or it lies outside this machine and network and there is no key.
        """
        self.model = model
        self.base_url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.timeout_s = timeout_s
        """Seconds that one attempt may take in all."""
        # stripped, because a line break from a file is no part of a key and cannot be sent
        self._api_key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip() or _no_key(self.base_url)
        self._leases = PerLoop(lambda: _Lease(self.base_url, self._api_key))

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    @property
    def fingerprint(self) -> str:
        """Address and name."""
        return f"openai:{urlsplit(self.base_url)._replace(netloc=self._host).geturl()}:{self.model}"

    async def chat(self, request: ChatRequest) -> ChatReply:
        """One attempt.

        Raises:
            ProviderError: of any kind.
        """
        is_openai = self._host == urlsplit(OPENAI_URL).netloc
        payload = completions.payload(self.model, request, is_openai=is_openai)
        # a drawn answer without a seed may be wanted twice; with one, the same request is the same answer
        key = None if request.seed is None else request.digest
        return completions.read(await self._post(payload, key), request)

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    async def _post(self, payload: dict[str, Any], key: str | None) -> str:
        """Sends one request; returns the body of its answer. Whoever honours the key does not bill a repetition."""
        options: Any = {} if key is None else {"headers": {"Idempotency-Key": key}}
        client = await self._leases.get().client()
        try:
            async with asyncio.timeout(self.timeout_s):
                # as text and by `post`: the SDK's typed way costs twice the time, and drops what it does not know
                return await client.post("/chat/completions", body=payload, cast_to=str, options=options)
        except TimeoutError:
            raise ProviderError("timeout", f"no answer from {self._host} within {self.timeout_s:g} s") from None
        except openai.APIStatusError as error:
            raise _status_failure(error, self._host) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise ProviderError("connection", f"{self._host}: {type(cause).__name__} {cause}".strip()) from None
        except (openai.OpenAIError, UnicodeError) as error:
            raise ProviderError("rejected", f"the request could not be sent: {error}") from None


class _Lease:
    """The connections of one event loop. They are held by an async generator, because a loop that ends closes its
    generators: nobody has to remember to close an endpoint.
    """

    def __init__(self, base_url: str, api_key: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=None)
        self._holder: AsyncGenerator[None] | None = None

    async def client(self) -> openai.AsyncOpenAI:
        if self._holder is None:
            self._holder = self._hold()
            await anext(self._holder)
        return self._client

    async def _hold(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._client.close()


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        is_address = False
    if not is_address:
        raise UserError(f"the endpoint's address is {url!r}; write it like http://localhost:8000/v1")
    return url.rstrip("/")


def _no_key(base_url: str) -> str:
    """What to send as the key where none is needed."""
    host = urlsplit(base_url).hostname or ""
    if _is_near(host):
        return "none"
    raise UserError(
        f"no key for {host}; set OPENAI_API_KEY, or set OPENAI_BASE_URL to a server of your own such as http://localhost:8000/v1"
    )


def _is_near(host: str) -> bool:
    """Whether a host is this machine, or a machine in the same network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host


def _status_failure(error: openai.APIStatusError, host: str) -> ProviderError:
    status = error.status_code
    kind: FailureKind = "server" if status >= 500 else STATUS_KINDS.get(status, "rejected")
    if error.code == "insufficient_quota":  # a 429 that no waiting cures
        kind = "rejected"
    if completions.is_too_long(status, f"{error.code} {_told(error)}"):
        kind = "too_long"
    retry_after_s = _seconds(error.response.headers.get("retry-after"))
    return ProviderError(kind, f"{host} answered {status}: {_told(error)}", retry_after_s=retry_after_s)


def _told(error: openai.APIStatusError) -> str:
    """What the endpoint says is wrong, in one line of bounded length."""
    body = error.body.get("message") if isinstance(error.body, dict) else error.body
    words = str(body or error.response.reason_phrase or "no reason given").split()
    hint = "; check the model's name, and that OPENAI_BASE_URL ends where its API begins, often in /v1"
    return " ".join(words)[:LONGEST_REASON] + (hint if error.status_code == 404 else "")


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds, given as seconds or as a date; None where it says nothing."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None
