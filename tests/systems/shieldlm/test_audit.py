"""The audit log: any changed byte, dropped, swapped or cut record is found; redaction keeps it valid."""

import json
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import MissingArtifactError
from tenfold.systems.shieldlm.audit import AuditLog, verify


def written(folder, count=6, **options):
    log = AuditLog(folder / "log.jsonl", sync=False, **options)
    for number in range(count):
        log.append(f"text {number}", {"decision": "allow", "score": number / 7})
    return log


def test_a_log_is_valid_and_hides_texts(tmp_path):
    log = written(tmp_path)
    found = verify(log.path)
    assert (found.num_records, found.problem) == (6, None)
    assert "text 3" not in log.path.read_text()
    record = json.loads(log.path.read_text().splitlines()[3])
    assert record["input"] == log.digest("text 3") != log.digest("text 4")
    assert oct((tmp_path / "log.key").stat().st_mode)[-3:] == "600"


@settings(max_examples=120)
@given(data=st.data())
def test_every_changed_byte_is_found(tmp_path_factory, data):
    log = written(tmp_path_factory.mktemp("log"), 3)
    file = data.draw(st.sampled_from([log.path, log.head_path]))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(bytes(content))
    assert verify(log.path).problem


def test_dropped_swapped_and_cut_records_are_found_with_their_place(tmp_path):
    log = written(tmp_path)
    lines = log.path.read_bytes().splitlines(keepends=True)
    for changed, first_bad in (
        ([*lines[:2], *lines[3:]], 2),
        ([lines[0], lines[2], lines[1], *lines[3:]], 1),
        (lines[:4], 4),
        ([*lines, lines[-1]], 6),
        ([lines[-1].strip()], 0),
    ):
        log.path.write_bytes(b"".join(changed))
        found = verify(log.path)
        assert found.problem and found.first_bad == first_bad, found
    log.path.write_bytes(b"".join(lines))
    assert verify(log.path).problem is None
    log.head_path.unlink()
    assert "head" in str(verify(log.path).problem)


def test_a_torn_last_line_is_cut_and_put_on_record(tmp_path):
    log = written(tmp_path)
    with log.path.open("ab") as file:
        file.write(b'{"decision":"al')
    AuditLog(log.path, sync=False).append("next", {"decision": "block"})
    rows = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert rows[6]["recovered"] == 15 and rows[7]["decision"] == "block"
    assert verify(log.path) == type(verify(log.path))(8, None, None)


def test_redaction_erases_the_text_and_keeps_the_chain(tmp_path):
    log = written(tmp_path, keeps_text=True)
    assert "text 2" in log.texts_path.read_text()
    assert log.redact(2) and not log.redact(2)
    assert "text 2" not in log.texts_path.read_text() and verify(log.path).problem is None
    log.texts_path.write_text(log.texts_path.read_text().replace("text 4", "text 5"))
    assert verify(log.path).first_bad == 4


def append_some(path, name):
    log = AuditLog(path, sync=False)
    for number in range(20):
        log.append(f"{name}{number}", {"decision": "allow"})


def test_two_processes_share_a_log(tmp_path):
    context = get_context("fork")
    workers = [context.Process(target=append_some, args=(tmp_path / "log.jsonl", name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert verify(tmp_path / "log.jsonl").num_records == 40
    assert verify(tmp_path / "log.jsonl").problem is None


def test_no_log_is_told_plainly(tmp_path):
    with pytest.raises(MissingArtifactError, match="no audit log"):
        verify(tmp_path / "none.jsonl")


def test_the_key_may_come_from_outside(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_AUDIT_KEY", "k")
    log = written(tmp_path, 1)
    assert not (tmp_path / "log.key").exists()
    monkeypatch.setenv("TENFOLD_AUDIT_KEY", "other")
    assert AuditLog(log.path, sync=False).digest("x") != log.digest("x")
