"""One server for the tests that only ask."""

import pytest

from serving_tiny import running


@pytest.fixture(scope="module")
def server():
    with running() as one:
        yield one
