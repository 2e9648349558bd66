"""A tiny chat model behind a real server on a free port, in a thread of this process."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
import torch
import uvicorn
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.apps.server.app import create
from tenfold.apps.server.service import Service, new_service
from tenfold.apps.server.serving import listen
from tenfold.apps.server.settings import ServeConfig
from tenfold.llm.guard import Guard
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tiny_tokenizer import tiny_tokenizer

NAME = "tiny"
EOS = 1
SLOW_S = 0.002
"""How long a pass of the slow engine takes at least, so that a client can go away in the middle of an answer."""


def tiny_loaded(*, batch_size: int = 4) -> LoadedModel:
    """A random Llama over all bytes; its texts vary and seldom end by themselves."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),  # pyright: ignore[reportArgumentType]
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    torch.manual_seed(5)
    state = {name: weight * 4 for name, weight in LlamaForCausalLM(config).bfloat16().state_dict().items()}
    engine = LeanLlama(config, state, batch_size=batch_size)
    return LoadedModel(NAME, "", "auto", engine, tokenizer, frozenset({EOS}))


@dataclass
class Running:
    """A server under test."""

    url: str
    service: Service
    alone: LoadedModel
    """The same model with one row, for texts as a lone request gets them."""
    clients: list[openai.OpenAI] = field(default_factory=list)

    def client(self, **more: Any) -> openai.OpenAI:
        """OpenAI's own client; it is closed with the server."""
        settings = {"api_key": "none", "max_retries": 0, "timeout": 60, **more}
        self.clients.append(openai.OpenAI(base_url=f"{self.url}/v1", **settings))
        return self.clients[-1]

    def chat_text(self, question: str, num_tokens: int) -> str:
        """The greedy answer, from plain decoding."""
        ids = self.service.prompts.loaded.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        stopper = Stopper(max_new_tokens=num_tokens, eos_ids={EOS})
        tokens = generate(self.alone.engine, list(ids), GenerationSettings(), stopper).tokens
        return str(self.alone.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def wait_until_idle(self, seconds: float = 10) -> None:
        """Until no request is under way; fails if some stay."""
        end = time.monotonic() + seconds
        while self.service.engine.num_running or self.service.engine.num_waiting:
            assert time.monotonic() < end, "requests are still under way"
            time.sleep(0.01)


@contextlib.contextmanager
def running(
    *,
    keys: Sequence[str] = (),
    slow: bool = False,
    pages: Sequence[Any] = (),
    guard: Guard | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """A server with these settings."""
    config = ServeConfig(model=NAME, **{"rows": 4, "max_context": 256, "max_new_tokens": 24, **settings})
    loaded, alone = tiny_loaded(batch_size=config.rows), tiny_loaded(batch_size=1)
    loaded.engine.exact_widths = alone.engine.exact_widths  # pyright: ignore
    if slow:
        _slow_down(loaded.engine)
    service = new_service(loaded, config, guard=guard)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create(service, keys=keys, pages=pages), log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        one = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", service, alone)
        yield one
        for client in one.clients:
            client.close()
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def _slow_down(engine: Any) -> None:
    whole = engine.forward_ragged

    def forward_ragged(tokens: Any) -> Any:
        time.sleep(SLOW_S)
        return whole(tokens)

    engine.forward_ragged = forward_ragged
