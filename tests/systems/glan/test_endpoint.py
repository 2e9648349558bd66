"""Against a loopback endpoint that fails now and then: nothing is lost, and nothing is asked again once it was answered."""

import asyncio

from tenfold.llm.chat import ChatRequest, assistant, user
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.retries import Retrying
from tenfold.llm.stub_server import MALFORMED, RATE_LIMIT, RESET, SERVER, TRUNCATED, Faults, StubServer
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import Asking
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import PlanConfig, Planner
from tenfold.systems.glan.reading import Reader
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.teachers import scripted_reply

TEACHER = scripted_reply
PLAN = PlanConfig(queries=2, subjects=3, questions=4)
DISCIPLINES = choose(load_taxonomy(), ["Algebra", "Baking"])


def scripted_answer(asked):
    """The scripted teacher behind HTTP."""
    roles = {"user": user, "assistant": assistant}
    messages = tuple(roles[message["role"]](message["content"]) for message in asked.body["messages"])
    request = ChatRequest(messages, seed=asked.body["seed"])
    reply = TEACHER(request)
    return reply if isinstance(reply, str) else reply.text


def grown(path, server):
    """The pairs of a run against the server."""
    endpoint = Endpoint("teacher", base_url=server.base_url, api_key="key", timeout_s=2.0)
    teacher = Retrying(endpoint, attempts=6, first_wait_s=0.001)
    planner = Planner(PLAN, "a teacher behind HTTP")
    with Ledger(path) as ledger:
        asking = Asking(teacher, ledger, Budget(BudgetConfig(), Spending()), concurrency=8)
        asyncio.run(grow(planner, asking, DISCIPLINES))
        return [pair.row for pair in Reader(planner, ledger).pairs(DISCIPLINES)], asking


def test_faults_lose_nothing_and_nothing_is_asked_again_after_its_answer(tmp_path):
    with StubServer(answer=scripted_answer) as server:
        clean, _ = grown(tmp_path / "clean.sqlite", server)
    faults = Faults(0.25, (RATE_LIMIT, SERVER, RESET, TRUNCATED, MALFORMED))
    with StubServer(answer=scripted_answer, faults=faults) as server:
        faulty, asking = grown(tmp_path / "faulty.sqlite", server)
        again, resumed = grown(tmp_path / "faulty.sqlite", server)
        answered, num_faults = server.answered, server.num_faults
        keys = [(asked.headers["idempotency-key"], asked.fault) for asked in server.requests]
    assert len(clean) == 24 and faulty == clean == again
    billed = [key for key, fault in keys if fault is None]
    assert len(set(billed)) == len(billed) == len({key for key, _ in keys}), "a key is one call, however often it was tried"
    assert max(answered.values()) == 1 and len(num_faults) >= 4
    assert sum(answered.values()) == asking.num_asked and resumed.num_asked == 0
