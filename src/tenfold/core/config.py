"""Settings: frozen, typed, unknown keys refused; read from TOML, changed by `a.b=c`, named by a digest.

A `Config` sits beside the class or verb it configures. Each field carries one docstring line under it, which
is also its help text on the command line.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tenfold.core.errors import ConfigError, MissingArtifactError, UnknownNameError

Table = dict[str, Any]


class Config(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that name these settings, the same on every machine."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()[:8]


AnyConfig = TypeVar("AnyConfig", bound=Config)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(config_type: type[AnyConfig], table: Mapping[str, Any], *, where: str = "settings") -> AnyConfig:
    """Builds a config from a table.

    Raises:
        ConfigError: one line that names the first key at fault, its value and what is accepted.
    """
    unknown = [key for key in table if key not in config_type.model_fields]
    if unknown:
        raise ConfigError(f"{where}: {UnknownNameError('setting', unknown[0], config_type.model_fields)}")
    try:
        return config_type.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: key, what we got, what is accepted."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "missing":
        return f"{key} is missing; give it a value"
    return f"{key} is {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def read_toml(path: Path) -> Table:
    """Reads a TOML file.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: it is not TOML; the message gives line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise MissingArtifactError(f"no file {str(path)!r}; give the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """Splits `a.b=c` into its key path and its value; a value that is no TOML literal is a string.

    Raises:
        ConfigError: there is no `=`, or no key before it.
    """
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(f"cannot read override {text!r}; write it as key=value or stage.key=value")
    try:
        literals = tomllib.loads(f"values = [{value}]")["values"]  # in brackets, so that `5 # five` is no literal
    except tomllib.TOMLDecodeError:
        return path, value
    return path, literals[0] if len(literals) == 1 and not value.rstrip().endswith(",") else value


def split_commas(value: Any) -> Any:
    """Lets a list setting be written as `a,b,c`, also inside a list of such texts; anything else passes unchanged."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    parts = [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    stripped = [part.strip() if isinstance(part, str) else part for part in parts]
    return [part for part in stripped if part != ""]


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""A setting that is a list of names: `a,b,c`, or a list."""
Paths = Annotated[tuple[Path, ...], BeforeValidator(split_commas)]
"""A setting that is a list of files: `a,b,c`, or a list."""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ between two tables, each as `key: old -> new`."""
    keys = sorted(old.keys() | new.keys())
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
