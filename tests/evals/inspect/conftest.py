"""Warnings between Inspect and its own libraries are none of ours; one comes when its streams are collected."""

import gc
from collections.abc import Iterator

import pytest

INSPECTS_OWN = (
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in INSPECTS_OWN:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="module", autouse=True)
def streams_collected() -> Iterator[None]:
    """Collects Inspect's streams while the filters above are in force; at the end of the session they are not."""
    yield
    gc.collect()
