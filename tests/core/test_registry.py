"""Registries: names are listed without importing what they stand for."""

import json
import sys

import pytest

from tenfold.core.errors import UnknownNameError
from tenfold.core.registry import Registry, load_target

REGISTRY = Registry("parser", {"json": "json:loads", "nested": "os:path.join", "broken": "no_such_module_at_all:thing"})


def test_listing_imports_nothing():
    assert list(REGISTRY) == ["json", "nested", "broken"]
    assert "broken" in REGISTRY
    assert REGISTRY.check("broken") == "broken"
    assert "no_such_module_at_all" not in sys.modules


def test_load_gives_the_object_itself():
    assert REGISTRY.load("json") is json.loads
    assert load_target("json:dumps") is json.dumps


def test_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown parser 'jsn'; .* did you mean 'json'\?"):
        REGISTRY.load("jsn")
    assert "jsn" not in REGISTRY
