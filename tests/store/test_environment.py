"""The environment as JSON, and the share of the machine that others used."""

import json
from pathlib import Path

import pytest

from tenfold.store import environment


def test_description_is_plain_json():
    description = environment.describe()
    assert json.loads(json.dumps(description)) == description
    assert description["cores"] >= 1
    assert description["packages"]["torch"]
    assert description["processor"]


def test_versions_of_what_is_not_installed_are_none():
    assert environment.installed("no-such-package-anywhere") is None


def test_contention_is_a_share_or_unknown():
    share = environment.ContentionMeter().read()
    assert share is None or 0 <= share <= 1


@pytest.mark.parametrize(
    ("total", "busy", "own", "share"),
    [(100, 50, 50, 0.0), (100, 50, 20, 0.3), (100, 20, 50, 0.0), (100, 100, 0, 1.0), (0, 0, 0, 0.0)],
)
def test_contention_is_what_others_used_of_the_total(monkeypatch, total, busy, own, share):
    samples = iter([(10.0, 5.0, 1.0), (10.0 + total, 5.0 + busy, 1.0 + own)])
    monkeypatch.setattr(environment.ContentionMeter, "_sample", staticmethod(lambda: next(samples)))
    assert environment.ContentionMeter().read() == pytest.approx(share)


def test_contention_is_unknown_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(environment.ContentionMeter, "_sample", staticmethod(lambda: None))
    assert environment.ContentionMeter().read() is None


def test_commit_is_known_inside_a_checkout_only(monkeypatch, tmp_path):
    if (Path(environment.__file__).parents[3] / ".git").exists():
        assert environment.commit()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert environment.commit() is None
