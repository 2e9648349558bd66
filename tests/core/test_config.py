"""Settings: unknown keys are refused with a hint, digests are stable, overrides and TOML errors say where."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from tenfold.core.config import (
    Config,
    Names,
    Paths,
    canonical_json,
    difference,
    parse,
    parse_override,
    read_toml,
    split_commas,
)
from tenfold.core.errors import ConfigError, MissingArtifactError


class Oven(Config):
    degrees: int = Field(180, ge=0, le=300)
    """How hot."""
    dishes: tuple[str, ...] = ()
    """What is in it."""
    fan: bool = False
    """Whether air is moved."""
    name: str | None = None
    """What the family calls it."""


class Kitchen(Config):
    oven: Oven


def test_unknown_key_is_answered_with_the_nearest_one_in_one_line():
    with pytest.raises(ConfigError) as caught:
        parse(Oven, {"degres": 200}, where="stage bake")
    message = str(caught.value)
    assert message.startswith("stage bake: unknown setting 'degres'")
    assert "did you mean 'degrees'" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"degrees": 301}, ["degrees", "301", "300"]),
        ({"degrees": "a\nb"}, ["degrees", r"a\nb", "integer"]),
        ({"fan": "perhaps"}, ["fan", "perhaps", "boolean"]),
    ],
)
def test_a_bad_value_is_named_with_its_key_in_one_line(table, words):
    with pytest.raises(ConfigError) as caught:
        parse(Oven, table)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_missing_or_nested_setting_is_named_by_its_path():
    with pytest.raises(ConfigError, match="oven is missing"):
        parse(Kitchen, {})
    with pytest.raises(ConfigError, match=r"oven\.degrees is -1"):
        parse(Kitchen, {"oven": {"degrees": -1}})


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Oven().fan = True


def test_digest_is_the_one_it_always_was():
    assert Oven().digest == "76be4ff2"
    assert Oven(name="Älteste", dishes=("a", "b"), fan=True).digest == "e1da1927"


def test_digest_tells_settings_apart_and_only_settings():
    assert Oven(degrees=181).digest != Oven().digest
    assert parse(Oven, {"fan": True, "degrees": 1}).digest == parse(Oven, {"degrees": 1, "fan": True}).digest


@settings(max_examples=20)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_canonical_json_does_not_depend_on_insertion_order(value):
    def reversed_keys(node):
        return {k: reversed_keys(node[k]) for k in reversed(node)} if isinstance(node, dict) else node

    assert canonical_json(value) == canonical_json(reversed_keys(value))


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("degrees=200", ["degrees"], 200),
        ("stage.oven.fan=true", ["stage", "oven", "fan"], True),
        ("x=1.5", ["x"], 1.5),
        ('dishes=["a", "b"]', ["dishes"], ["a", "b"]),
        ('name="5"', ["name"], "5"),
        ("name=plain text", ["name"], "plain text"),
        ("name=a=b", ["name"], "a=b"),
        ("name=", ["name"], ""),
        ("name=True", ["name"], "True"),
        ("name=a,b", ["name"], "a,b"),
        ("name=1,2", ["name"], "1,2"),
        ("name=1,", ["name"], "1,"),
        ("name=5 # five", ["name"], "5 # five"),
        ("name=5\nfan=true", ["name"], "5\nfan=true"),
        (" a . b =1", ["a", "b"], 1),
    ],
)
def test_override_is_a_literal_or_else_the_text_itself(text, path, value):
    assert parse_override(text) == (path, value)


@pytest.mark.parametrize("text", ["degrees", "=3", "a..b=3", ".a=3", ""])
def test_override_without_key_or_value_is_refused(text):
    with pytest.raises(ConfigError, match="write it as key=value"):
        parse_override(text)


@given(st.booleans() | st.integers(-(2**62), 2**62) | st.lists(st.integers(0, 99) | st.booleans(), max_size=4))
def test_every_json_literal_survives_an_override(value):
    assert parse_override(f"key={canonical_json(value)}") == (["key"], value)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        ("a,b, c", ["a", "b", "c"]),
        (["a,b", "c"], ["a", "b", "c"]),
        (("a",), ["a"]),
        (3, 3),
        ([0, 1], [0, 1]),
        ("", []),
        ("a, ,b,", ["a", "b"]),
    ],
)
def test_split_commas(given_value, expected):
    assert split_commas(given_value) == expected


def test_toml_error_says_file_and_position(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML: .*line 2, column 5"):
        read_toml(path)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_missing_toml_file_is_the_users_mistake(tmp_path, name):
    with pytest.raises(MissingArtifactError, match="no file"):
        read_toml(tmp_path / name)


def test_toml_of_another_encoding_is_the_users_mistake(tmp_path):
    (tmp_path / "latin.toml").write_bytes('name = "Ä"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        read_toml(tmp_path / "latin.toml")


def test_difference_names_each_changed_key():
    assert difference({"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 4, "new": 5}) == [
        "b: 2 -> 4",
        "gone: 3 -> None",
        "new: None -> 5",
    ]


class ListConfig(Config):
    words: Names = ()
    files: Paths = ()


@pytest.mark.parametrize("given", ["a,b", " a , b ", ["a", "b"], ["a,b"], ("a", "b")])
def test_lists_are_written_with_commas_or_as_lists(given):
    assert parse(ListConfig, {"words": given, "files": given}) == ListConfig(words=("a", "b"), files=(Path("a"), Path("b")))
