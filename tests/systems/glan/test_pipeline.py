"""Laws of the pipeline: no order of completion and no kill shows in the data, nothing is paid twice, siblings are free."""

import asyncio
import importlib.util
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tenfold.llm.chat import ChatReply, ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS, Asking
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending, spent_in
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import PlanConfig, Planner
from tenfold.systems.glan.reading import Reader
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.teachers import scripted_teacher

SCRIPT = Path(__file__).with_name("kill_teacher.py")
SPEC = importlib.util.spec_from_file_location("kill_teacher", SCRIPT)
kill_teacher = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(kill_teacher)

PLAN = PlanConfig(queries=2, subjects=3, questions=4)
NO_LIMIT = BudgetConfig()
FINGERPRINT = scripted_teacher().fingerprint
ALL = load_taxonomy()
TWO = choose(ALL, ["Algebra", "Baking"])
THREE = choose(ALL, ["Algebra", "Botany", "Baking"])


class Shuffled:
    """A teacher whose replies come in an order that the seed decides."""

    def __init__(self, seed, inner=None):
        self.inner, self.rng = inner or scripted_teacher(), random.Random(seed)
        self.name, self.fingerprint, self.takes_images = self.inner.name, self.inner.fingerprint, False
        self.in_flight, self.most_in_flight = 0, 0

    async def chat(self, request):
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        for _ in range(self.rng.randrange(20)):
            await asyncio.sleep(0)
        self.in_flight -= 1
        return await self.inner.chat(request)


def run(ledger, teacher, disciplines=TWO, plan=PLAN, budget=NO_LIMIT, concurrency=4):
    spent = spent_in(ledger, KINDS)
    asking = Asking(teacher, ledger, Budget(budget, spent), concurrency=concurrency)
    asyncio.run(grow(Planner(plan, teacher.fingerprint), asking, disciplines))
    return asking


def data(ledger, disciplines=TWO, plan=PLAN, fingerprint=FINGERPRINT):
    pairs = Reader(Planner(plan, fingerprint), ledger).pairs(disciplines)
    return [json.dumps(pair.row, ensure_ascii=False) for pair in pairs]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_whole_tree_with_levels_and_lineage(ledger):
    asking = run(ledger, scripted_teacher())
    rows = [json.loads(line) for line in data(ledger)]
    assert len(rows) == 2 * 3 * 4 == len({row["id"] for row in rows})
    assert asking.num_asked == 2 * 2 * 2 + 6 * 2 + 24 * 2
    assert {row["strategy"] for row in rows} == {"one session", "two sessions"}
    assert all(row["level"] and row["discipline"] in ("Algebra", "Baking") and len(row["lineage"]) == 4 for row in rows)
    assert all(concept in row["instruction"] for row in rows for concept in row["concepts"])
    for row in rows:
        assert len(row["sessions"]) == (2 if row["strategy"] == "two sessions" else 1)


def test_the_question_is_asked_with_the_whole_syllabus_and_answered_alone(ledger):
    teacher = scripted_teacher()
    run(ledger, teacher)
    texts = [request.messages[-1].text for request in teacher.requests]
    questions = [text for text in texts if "homework question" in text]
    assert len(questions) == 24 and all(text.count("Session: ") >= 3 for text in questions)
    answers = {json.loads(line)["instruction"] for line in data(ledger)}
    assert answers <= set(texts)


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_completion_shows_in_the_data(ledger, tmp_path, seed):
    run(ledger, scripted_teacher(), concurrency=1)
    with Ledger(tmp_path / "other.sqlite") as other:
        teacher = Shuffled(seed)
        run(other, teacher, tuple(reversed(TWO)), concurrency=7)
        assert data(other) == data(ledger) and other.digest() == ledger.digest()
        assert 1 < teacher.most_in_flight <= 7


def test_a_second_run_asks_nothing(ledger):
    run(ledger, scripted_teacher())
    assert run(ledger, scripted_teacher()).num_asked == 0


def test_a_new_discipline_costs_its_own_subtree_and_changes_nothing_else(ledger, tmp_path):
    run(ledger, scripted_teacher())
    before = data(ledger)
    added = run(ledger, scripted_teacher(), THREE).num_asked
    with Ledger(tmp_path / "alone.sqlite") as alone:
        assert added == run(alone, scripted_teacher(), choose(ALL, ["Botany"])).num_asked
    after = data(ledger, THREE)
    assert [line for line in after if '"Botany"' not in line] == before and len(after) == len(before) * 3 // 2


def test_more_questions_continue_the_streams(ledger):
    run(ledger, scripted_teacher())
    before = data(ledger)
    more = PLAN.model_copy(update={"questions": 7})
    assert run(ledger, scripted_teacher(), plan=more).num_asked == 6 * 3 * 2
    assert set(before) < set(data(ledger, plan=more))


def test_one_turn_and_two_turns_both_grow(ledger):
    plan = PLAN.model_copy(update={"turns": 1})
    asking = run(ledger, scripted_teacher(), plan=plan)
    assert asking.num_asked == 2 * 2 + 6 + 24 * 2 and len(data(ledger, plan=plan)) == 24


def test_held_out_questions_share_no_combination_with_training(ledger):
    plan = PLAN.model_copy(update={"held_out": 3})
    run(ledger, scripted_teacher(), plan=plan)
    rows = [json.loads(line) for line in data(ledger, plan=plan)]
    splits = Counter(row["split"] for row in rows)
    assert splits == {"train": 24, "test": 18}
    combinations = Counter((row["subject"], *row["concepts"]) for row in rows)
    assert max(combinations.values()) == 1


def unreadable(request):
    """A teacher that never writes JSON."""
    return "nothing of use" if len(request.messages) > 1 else scripted_teacher()._answer(request)


def test_what_cannot_be_read_is_asked_for_once_more_and_then_filed_with_its_reason(ledger):
    teacher = Scripted("unreadable", unreadable)
    asking = run(ledger, teacher)
    assert asking.num_asked == 2 * 2 * 3, "first turn, second turn, one repair for each query"
    unread = list(ledger.entries("unread"))
    assert len(unread) == 4 and all(entry.reason.startswith("repair: no_json") for entry in unread)
    reader = Reader(Planner(PLAN, teacher.fingerprint), ledger)
    assert list(reader.pairs(TWO)) == []
    assert reader.tallies[TWO[0].path].unread == {"subjects: no_json": 2}


def test_failures_are_kept_with_their_reason_and_asked_again_in_a_later_run(ledger, tmp_path):
    good, failed = scripted_teacher(), Counter()

    def sometimes(request):
        failed[request.digest] += 1
        if failed[request.digest] == 1 and int(request.digest, 16) % 5 == 0:
            raise ProviderError("server", "500")
        return good._answer(request)

    teacher = Scripted("scripted", sometimes)
    for _ in range(8):
        run(ledger, teacher)
    with Ledger(tmp_path / "clean.sqlite") as clean:
        run(clean, scripted_teacher())
        assert data(clean) == data(ledger)
    assert max(failed.values()) == 2, "what was answered was asked again"
    assert not any(counts["failed"] for counts in ledger.counts().values())


def test_a_failed_call_is_recorded(ledger):
    def down(request):
        raise ProviderError("server", "the endpoint is down")

    run(ledger, Scripted("down", down))
    entries = list(ledger.entries())
    assert {(entry.status, entry.reason) for entry in entries} == {("failed", "server: the endpoint is down")}


def test_a_refused_key_ends_the_run(ledger):
    def refused(request):
        raise ProviderError("rejected", "401")

    asking = run(ledger, Scripted("refused", refused), ALL, concurrency=2)
    assert asking.stopped and "401" in asking.stopped and asking.num_asked < 12


@pytest.mark.parametrize("limit", [0, 1, 17, 40])
def test_the_limit_on_calls_is_exact_over_all_runs(ledger, limit):
    for _ in range(2):
        run(ledger, Shuffled(1), budget=BudgetConfig(max_calls=limit), concurrency=8)
    assert spent_in(ledger, KINDS).calls == limit


@pytest.mark.parametrize("concurrency", [1, 8])
def test_tokens_exceed_their_limit_by_the_requests_in_flight_at_most(ledger, concurrency):
    limit = 3000
    run(ledger, Shuffled(2), budget=BudgetConfig(max_tokens=limit), concurrency=concurrency)
    largest = max(e.result["prompt_tokens"] + e.result["completion_tokens"] for k in KINDS for e in ledger.entries(k))
    assert limit <= spent_in(ledger, KINDS).tokens < limit + concurrency * largest


def test_equal_calls_under_way_are_asked_once(ledger):
    teacher = Shuffled(3, Scripted("same", lambda request: ChatReply("the same text")))
    planner = Planner(PLAN, teacher.fingerprint)
    asking = Asking(teacher, ledger, Budget(BudgetConfig(), Spending()), concurrency=5)

    async def many():
        return await asyncio.gather(*(asking.ask(planner.answer("What?")) for _ in range(20)))

    assert {reply.text for reply in asyncio.run(many())} == {"the same text"} and asking.num_asked == 1


def grow_with_kills(folder, kills, seed, concurrency=6):
    """Kills the process at random moments, then lets it finish; the ledger's digest, the pairs, number of askings, kills."""
    rng, log = random.Random(seed), folder / "asked.txt"
    command = [sys.executable, str(SCRIPT), str(folder / "ledger.sqlite"), str(log), str(concurrency)]
    done, finished = 0, False
    while done < kills and not finished:
        lines = len(log.read_text().split()) if log.exists() else 0
        process = subprocess.Popen(command)
        target = lines + rng.randint(1, 12)
        while process.poll() is None and (len(log.read_text().split()) if log.exists() else 0) < target:
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        else:
            finished = True
        process.wait()
    subprocess.run(command, check=True)
    teacher = scripted_teacher(defects=0.2)
    with Ledger(folder / "ledger.sqlite") as ledger:
        pairs = data(ledger, choose(ALL, kill_teacher.NAMES), kill_teacher.PLAN, teacher.fingerprint)
        return ledger.digest(), pairs, Counter(log.read_text().split()), done


def test_kills_at_random_moments_leave_no_trace(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    digest, pairs, asked, _ = grow_with_kills(tmp_path / "whole", 0, 0)
    assert max(asked.values()) == 1 and len(pairs) == 24
    kills, concurrency = 10, 6
    killed_digest, killed_pairs, killed_asked, done = grow_with_kills(tmp_path / "killed", kills, 1, concurrency)
    assert (killed_digest, killed_pairs) == (digest, pairs)
    assert set(killed_asked) == set(asked) and done >= 3
    assert sum(killed_asked.values()) - len(asked) <= done * concurrency, "more was asked again than was in flight"
