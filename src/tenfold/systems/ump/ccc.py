"""Solvers for Inspect AI: Critical Calculation and Conclusion in one message, in turns or behind a gate; and the others.

one     one message holds all stages
turns   one message per stage, in one conversation
gate    turns, but the calculation is left out if the critical stage does not end on SOUND
"""

from collections.abc import Mapping

from inspect_ai.model import ChatMessageUser
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tenfold.evals.inspect.generating import answer_cached, score_candidates
from tenfold.systems.ump import templates
from tenfold.systems.ump.templates import ALL_STAGES, CCC, is_passed, parse_mode, parse_stages

LETTERS = ("A", "B")


@solver
def ccc(stages: str = ALL_STAGES, mode: str = "one", data: str = "") -> Solver:
    """Asks by CCC; `stages` is a comma list, `mode` one, turns or gate, `data` the checksum of the problem set."""
    chosen = parse_stages(stages)
    how = parse_mode(mode, chosen)
    scopes = {"data": data, "template": templates.sha256(CCC, chosen, how)}

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        question = state.input_text
        if how == "one":
            return await _say(state, templates.in_one(CCC, question, chosen), scopes)
        state.messages = []
        for stage, text in templates.in_turns(question, chosen, gate=how == "gate").items():
            if how == "gate" and stage == "calculation" and not is_passed(state.output.completion):
                continue
            state.messages.append(ChatMessageUser(content=text))
            state = await answer_cached(state, scopes=scopes)
        return state

    return solve


@solver
def ask(template: str, data: str = "") -> Solver:
    """Asks once, by one of the templates other than CCC."""
    scopes = {"data": data, "template": templates.sha256(templates.check_template(template), templates.STAGES, "one")}

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await _say(state, templates.in_one(template, state.input_text), scopes)

    return solve


@solver
def rank_letters(template: str, stages: str = ALL_STAGES, data: str = "") -> Solver:
    """Keeps the log-probabilities of both letters in both orders, without generating: `metadata["letters"]`."""
    chosen = parse_stages(stages)
    scopes = {"data": data, "template": templates.sha256(template, chosen, "one")}

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        orders = []
        for flawed_first in (True, False):
            text = templates.letter_question(template, state.input_text, chosen, flawed_first=flawed_first)
            message = ChatMessageUser(content=text)
            scores = await score_candidates([message], LETTERS, scopes=scopes, answer_prefix="(")
            orders.append({"flawed": LETTERS[0 if flawed_first else 1], "logprobs": list(scores.logprobs)})
        state.metadata["letters"] = orders
        return state

    return solve


async def _say(state: TaskState, text: str, scopes: Mapping[str, str]) -> TaskState:
    state.messages = [ChatMessageUser(content=text)]
    return await answer_cached(state, scopes=scopes)
