"""Settings that the verb and the Inspect task share: a task by its name, prompt formats by their numbers."""

from tenfold.core.errors import ConfigError
from tenfold.systems.deepeval.arms import NUM_PROMPTS
from tenfold.systems.deepeval.items import TASKS, Task

ALL = "all"
BY_NAME: dict[str, Task] = {task: task for task in TASKS}


def check_task(name: str) -> Task:
    """The task of this name; ConfigError if there is none."""
    if name not in BY_NAME:
        raise ConfigError(f"task is {name!r}; give one of {', '.join(TASKS)}")
    return BY_NAME[name]


def prompt_numbers(text: str | int) -> tuple[int, ...]:
    """The prompt formats that `all`, `2` or `1,3` mean; ConfigError otherwise."""
    known = tuple(range(1, NUM_PROMPTS + 1))
    if text == ALL:
        return known
    parts = [part.strip() for part in str(text).split(",")]
    if not all(part in map(str, known) for part in parts):
        raise ConfigError(f"prompts is {text!r}; give all, or some of {', '.join(map(str, known))}")
    return tuple(sorted({int(part) for part in parts}))
