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

from tenfold.llm.chat import ChatReply, ProviderError, Usage
from tenfold.llm.retries import Retrying
from tenfold.llm.scripted import Scripted
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS, Asking
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending, owed_in, spent_in
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
    spent = spent_in(ledger, KINDS) + owed_in(ledger)
    asking = Asking(teacher, ledger, Budget(budget, spent, ledger), concurrency=concurrency)
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
def test_tokens_never_pass_their_limit_and_most_of_it_is_used(ledger, concurrency):
    limit = 12_000
    asking = run(ledger, Shuffled(2), budget=BudgetConfig(max_tokens=limit), concurrency=concurrency)
    assert asking.is_limited and asking.stopped and "max_tokens is 12000" in asking.stopped
    assert limit - 6_000 < spent_in(ledger, KINDS).tokens <= limit and not ledger.claims()


class Unsteady(Shuffled):
    """A teacher that now and then is silent for good, down, or wordy beyond what it was asked for."""

    async def chat(self, request):
        reply = await super().chat(request)
        chance = self.rng.random()
        if chance < 0.2:
            raise ProviderError(self.rng.choice(["timeout", "server", "malformed", "rate_limit"]), "a fault")
        return reply


@pytest.mark.parametrize("seed", range(6))
def test_spending_with_all_that_was_lost_keeps_to_the_limit_under_faults(ledger, seed):
    limit = 30_000
    for again in range(3):
        teacher = Retrying(Unsteady(10 * seed + again), attempts=1)
        run(ledger, teacher, budget=BudgetConfig(max_tokens=limit), concurrency=1 + seed)
        assert (spent_in(ledger, KINDS) + owed_in(ledger)).tokens <= limit
    assert ledger.claims(), "attempts without a reply may have been billed"


def test_what_a_killed_process_had_under_way_counts_as_spent(ledger):
    class Killed(BaseException):
        pass

    def answer(request):
        if len(teacher.requests) == 5:
            raise Killed
        return scripted_teacher()._answer(request)

    teacher = Scripted("scripted", answer)
    with pytest.raises(BaseException):  # noqa: B017 a kill is no Exception
        run(ledger, teacher, budget=BudgetConfig(max_tokens=10**6), concurrency=1)
    request, claims = teacher.requests[4], ledger.claims().values()
    assert any(claim["completion_tokens"] == request.max_tokens for claim in claims)
    assert all(claim["prompt_tokens"] > len(request.messages[0].text) / 4 for claim in claims)
    assert owed_in(ledger).tokens == sum(sum(claim.values()) for claim in claims)
    limit = (spent_in(ledger, KINDS) + owed_in(ledger)).tokens
    assert run(ledger, scripted_teacher(), budget=BudgetConfig(max_tokens=limit)).num_asked == 0


def test_a_reply_without_an_end_is_asked_for_again_and_the_last_time_at_twice_the_length(ledger):
    limits = []

    def cut(request):
        if "homework question" in request.messages[-1].text or len(request.messages) > 1:
            return scripted_teacher()._answer(request)
        limits.append(request.max_tokens)
        is_long = request.max_tokens > PLAN_TOKENS
        return ChatReply("Lesson one. " * 9, "stop" if is_long else "length", Usage(10, 100))

    planner = Planner(PLAN, "cut")
    call = planner.answer("What is a lesson?")
    PLAN_TOKENS = call.request.max_tokens
    asking = Asking(Scripted("cut", cut), ledger, Budget(NO_LIMIT, Spending()), concurrency=1)
    assert not asyncio.run(asking.ask(call)).truncated
    assert limits == [PLAN_TOKENS, PLAN_TOKENS, 2 * PLAN_TOKENS]
    assert spent_in(ledger, ("answer",)) == Spending(3, 30, 300)
    assert len({request.seed for request in asking.teacher.requests}) == 3


def test_a_syllabus_that_is_too_long_is_shown_in_brief(ledger):
    asked = []

    def narrow(request):
        text = request.messages[-1].text
        if "homework question" in text:
            asked.append(text)
            if text.count("Session: ") > 1:
                raise ProviderError("too_long", "at most 50 tokens")
        return scripted_teacher()._answer(request)

    run(ledger, Scripted("scripted", narrow))
    rows = [json.loads(line) for line in data(ledger)]
    assert len(rows) == 24 and len(asked) == 48
    brief = [text for text in asked if "Session: " not in text]
    assert all(text.count("Lesson") >= 3 for text in brief) and len(brief) == 24
    again = run(ledger, Scripted("scripted", narrow))
    assert again.num_asked == 0, "that it is too long is known"


def test_what_is_too_long_and_cannot_be_shortened_is_unread(ledger):
    def narrow(request):
        if len(request.messages) > 1:
            raise ProviderError("too_long", "at most 50 tokens")
        return scripted_teacher()._answer(request)

    run(ledger, Scripted("scripted", narrow))
    reader = Reader(Planner(PLAN, FINGERPRINT), ledger)
    assert list(reader.pairs(TWO)) == [] and reader.tallies[TWO[0].path].unread == {"subjects: too_long": 2}


def test_rounds_replace_what_is_not_accepted_and_nothing_else(ledger):
    def accepts(pair):
        return int(pair.id[:8], 16) % 3 > 0

    plan = PLAN.model_copy(update={"rounds": 3, "held_out": 1})
    planner = Planner(plan, FINGERPRINT)
    asking = Asking(Shuffled(4), ledger, Budget(NO_LIMIT, Spending()), concurrency=6)
    asyncio.run(grow(planner, asking, TWO, accepts=accepts))
    reader = Reader(planner, ledger, accepts)
    pairs = list(reader.pairs(TWO))
    by_subject = Counter((pair.discipline, pair.subject) for pair in pairs if pair.split == "train" and accepts(pair))
    replaced = sum(tally.replaced for tally in reader.tallies.values())
    assert replaced > 0 and len(pairs) == 6 * 5 + replaced
    assert all(number <= 4 for number in by_subject.values()) and sum(by_subject.values()) > 24 * 0.85
    assert sum(tally.wanted for tally in reader.tallies.values()) == 30
    assert [pair.split for pair in pairs].count("test") == 6
    with_defects = data(ledger, plan=plan.model_copy(update={"rounds": 1}))
    assert len(with_defects) == 30


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
