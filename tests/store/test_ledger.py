"""Laws of the ledger: first put wins, merging knows no order, a kill loses nothing, two processes get along."""

import os
import signal
import subprocess
import sys
import tracemalloc
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError, MissingArtifactError, UserError
from tenfold.store import ledger as ledger_module
from tenfold.store.ledger import RANKS, Ledger, only_worker, open_existing, work_key

KEYS = st.sampled_from("abc")
DEEDS = st.lists(st.tuples(st.sampled_from(["put", "fail", "drop"]), KEYS, st.integers(0, 3)), max_size=12)


def do(ledger, deeds):
    for deed, key, value in deeds:
        if deed == "put":
            ledger.put("kind", key, {"value": value})
        else:
            getattr(ledger, deed)("kind", key, f"reason {value}")


def content(ledger):
    return {entry.key: (entry.status, entry.reason, entry.data) for entry in ledger.entries()}


@pytest.fixture
def new(tmp_path):
    made = []

    def make():
        made.append(Ledger(tmp_path / f"{len(made)}.sqlite"))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


@given(deeds=DEEDS)
def test_equals_a_dictionary_in_which_only_failures_are_replaced(deeds, tmp_path_factory):
    known = {}
    for deed, key, value in deeds:
        if known.get(key, ("failed",))[0] == "failed":
            status = {"put": "done", "fail": "failed", "drop": "dropped"}[deed]
            reason, data = ("", b'{"value":%d}' % value) if deed == "put" else (f"reason {value}", b"null")
            known[key] = (status, reason, data)
    with Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite") as ledger:
        do(ledger, deeds)
        assert content(ledger) == known
        assert list(content(ledger)) == sorted(known)
        counted = {status: sum(entry[0] == status for entry in known.values()) for status in RANKS}
        assert ledger.counts() == ({"kind": counted} if known else {})


@given(parts=st.lists(DEEDS, min_size=3, max_size=3))
def test_merging_knows_no_order_and_no_repetition(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    ledgers = [Ledger(folder / f"{number}.sqlite") for number in range(3)]
    for ledger, deeds in zip(ledgers, parts, strict=True):
        do(ledger, deeds)
    digests = set()
    for number, order in enumerate(permutations(ledgers)):
        with Ledger(folder / f"merged-{number}.sqlite") as merged:
            for ledger in (*order, order[0]):
                merged.merge(ledger.entries())
            digests.add(merged.digest())
    for ledger in ledgers:
        ledger.close()
    assert len(digests) == 1


def test_put_says_what_the_ledger_holds(new):
    ledger = new()
    assert ledger.put("answer", "a", [1]).result == [1]
    assert ledger.put("answer", "a", [2]).result == [1]
    assert ledger.fail("answer", "a", "late").status == "done"
    assert ledger.get("question", "a") is None


def test_many_pages_come_in_order_and_in_bounded_memory(new, monkeypatch):
    monkeypatch.setattr(ledger_module, "PAGE", 50)
    ledger = new()
    ledger.put_many("answer", {work_key(draw=draw): "x" * 2000 for draw in range(5000)})
    tracemalloc.start()
    keys = [entry.key for entry in ledger.entries("answer")]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keys == sorted(keys) and len(keys) == 5000
    assert peak < 3_000_000, "10 MB of results were held at once"


def test_half_a_surrogate_pair_is_kept(new):
    assert new().put("answer", "a", "half \ud83d").result == "half \ud83d"


def test_key_depends_on_every_part_and_not_on_their_order():
    assert work_key(a=1, b="x") == work_key(b="x", a=1) != work_key(a=2, b="x")
    assert len(work_key(a=1)) == 64


WRITER = """
import sys
from pathlib import Path
from tenfold.store.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    ledger.put("answer", f"{number:06d}", [sys.argv[2], number])
    print(number, flush=True)
"""


def writer(path, name, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True)


def test_kill_loses_nothing_that_was_put(tmp_path):
    process = writer(tmp_path / "l.sqlite", "one", 100_000)
    for line in process.stdout:
        if int(line) == 200:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        numbers = [entry.result[1] for entry in ledger.entries()]
        assert numbers == list(range(len(numbers))) and len(numbers) >= 201
        assert ledger.put("answer", "new", 1).status == "done"


def test_two_processes_share_a_file_and_the_first_put_wins(tmp_path):
    processes = [writer(tmp_path / "l.sqlite", name, 150) for name in ("one", "two")]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0] and all(output.split()[-1] == "149" for output in outputs)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert [entry.result[1] for entry in ledger.entries()] == list(range(150))


def test_refuses_what_is_no_ledger(tmp_path):
    with pytest.raises(MissingArtifactError, match="no ledger"):
        open_existing(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("this is a text of more than a hundred bytes, so that SQLite reads its header " * 3)
    with pytest.raises(ConfigError, match="not a ledger"):
        open_existing(tmp_path / "text")
    with Ledger(tmp_path / "newer") as ledger:
        ledger._database.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="schema 99"):
        open_existing(tmp_path / "newer")


def test_a_second_process_is_told_who_is_at_work_and_a_killed_one_holds_nothing(tmp_path):
    path = tmp_path / "work.sqlite"
    code = (
        "import sys, time; from pathlib import Path; from tenfold.store.ledger import only_worker\n"
        "with only_worker(Path(sys.argv[1])): print('holds', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "holds\n"
        with pytest.raises(UserError, match=f"process {other.pid} is at work"), only_worker(path):
            pass
        other.kill()
    for _ in range(2):
        with only_worker(path):
            assert (tmp_path / "work.sqlite.pid").read_text() == str(os.getpid())
    assert not (tmp_path / "work.sqlite.pid").exists()


@pytest.mark.parametrize(("setting", "level"), [("normal", 1), ("full", 2)])
def test_the_disk_is_waited_for_where_that_is_asked_for(tmp_path, setting, level):
    with Ledger(tmp_path / "ledger.sqlite", synchronous=setting) as ledger:
        assert ledger._database.execute("PRAGMA synchronous").fetchone()[0] == level


def test_claims_are_no_part_of_the_content_and_outlive_the_process(new):
    ledger, other = new(), new()
    ledger.put("kind", "a", {"value": 1})
    digest = ledger.digest()
    first, second = ledger.claim({"tokens": 3}), ledger.claim({"tokens": 4})
    assert ledger.digest() == digest and ledger.counts() == {"kind": {"failed": 0, "dropped": 0, "done": 1}}
    with Ledger(ledger.path) as again:
        assert sorted(cost["tokens"] for cost in again.claims().values()) == [3, 4]
    ledger.settle(first)
    ledger.settle(first)
    for _ in range(2):
        other.take_claims(ledger)
    assert other.claims() == ledger.claims() == {second: {"tokens": 4}}
