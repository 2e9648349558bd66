"""The error tree: exit codes, and what a wrong name is answered with."""

import pytest

from tenfold.core import errors


def test_users_mistakes_exit_with_2_and_all_else_with_1():
    ours = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.TenfoldError)]
    assert len(ours) >= 8
    for error in ours:
        assert error.exit_code == (2 if issubclass(error, errors.UserError) else 1), error
        assert issubclass(error, ValueError) == issubclass(error, errors.UserError), error


@pytest.mark.parametrize(
    ("name", "ending"),
    [("smolm2", "did you mean 'smollm2'?"), ("zzz", "choose one of them")],
)
def test_wrong_name_gets_the_nearest_right_ones(name, ending):
    message = str(errors.UnknownNameError("model", name, ["smollm2", "gpt"]))
    assert message == f"unknown model {name!r}; we know gpt, smollm2; {ending}"


def test_wrong_name_among_none():
    assert "we know none" in str(errors.UnknownNameError("model", "x", ()))
