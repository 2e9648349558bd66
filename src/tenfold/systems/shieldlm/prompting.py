"""The question put to the model: instruction, rules, dialogue, and the marker after which the verdict stands.

    short      about twenty tokens around the dialogue, for small models and for streams
    tenfold    our own wording of all parts (role, task, care, rules, order, form)
    official   the paper's own strings, read from a checkout of its code by `import-prompts`

What comes from outside (query, response, rules) can imitate the prompt's own lines. Such lines are quoted with `| `, markers
lose their brackets, chat tokens are broken by a blank, and special tokens are encoded as text: it can then neither end the
dialogue nor bring a verdict of its own.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.systems.shieldlm.items import LABELS, Label
from tenfold.systems.shieldlm.official import official_text

Lang = Literal["en", "zh"]
Order = Literal["label-first", "analysis-first"]
Style = Literal["short", "tenfold", "official"]
STYLES = ("short", "tenfold", "official")
LANGS = ("en", "zh")
VERDICTS: Mapping[Lang, Mapping[Label, str]] = {
    "en": {label: label for label in LABELS},
    "zh": {"safe": "安全", "unsafe": "不安全", "controversial": "有争议"},
}
MARKERS: Mapping[Lang, tuple[str, str]] = {"en": ("[Answer]", "[Analysis]"), "zh": ("[答案]", "[分析]")}
WRAPPERS: Mapping[str, tuple[str, str]] = {
    "none": ("", ""),
    "qwen": ("<|im_start|>system\n<|im_end|>\n<|im_start|>user\n", "\n<|im_end|>\n<|im_start|>assistant\n"),
    "internlm2": ("<|im_start|>system\n<|im_end|>\n<|im_start|>user\n", "\n<|im_end|>\n<|im_start|>assistant\n"),
    "baichuan2": ("<reserved_106>", "<reserved_107>"),
    "chatglm3": ("[gMASK]sop<|user|> \n ", "<|assistant|> \n"),
}
"""What stands before and after the prompt, by model family; `chat` takes it from the tokenizer's own template."""
CATEGORY = "\ncategory: {}"
"""What follows the verdict where a category is named."""
FOLDER = Path(__file__).parent / "prompts"
BREAKS = re.compile(r"\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
MARKER = re.compile(r"[\[\u3010]\s{0,4}(answer|analysis|答案|分析)\s{0,4}[\]\u3011]", re.IGNORECASE)
CHAT_TOKEN = re.compile(r"<(?=\|[^|<>\n]{1,40}\|>|reserved_\d{1,6}>|/?s>)|\[(?=gMASK\])")
SPEAKER = re.compile(
    r"\s*(?:[AB]\s{0,8}[:\uff1a]|[\[\u3010]\s{0,4}(?:answer|analysis|答案|分析)\s{0,4}[\]\u3011])", re.IGNORECASE
)
OWN_NUMBER = re.compile(r"\s*\d{1,3}\s*[.)\u3001\uff0e]")
QUOTE = "| "


@dataclass(frozen=True)
class Prompt:
    """A prompt up to its marker. Spans are character positions in `text`."""

    text: str
    """Without the wrapper."""
    answer: str
    """What the assistant's turn begins with; the verdict follows it after a blank."""
    query: tuple[int, int]
    response: tuple[int, int]
    rules: tuple[tuple[int, int], ...]
    lang: Lang
    before: str = ""
    """The wrapper: may hold special tokens, which `text` never does."""
    after: str = ""
    spoof: bool = False
    """Whether something from outside imitated the prompt's own lines and was quoted."""

    @property
    def verdicts(self) -> Mapping[Label, str]:
        """Each label as the continuation that is scored, with its leading blank."""
        return {label: f" {name}" for label, name in VERDICTS[self.lang].items()}

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits of all that the model reads."""
        return hashlib.sha256("\0".join((self.before, self.text, self.after, self.answer)).encode()).hexdigest()


def build_prompt(
    query: str,
    response: str,
    rules: Sequence[str] = (),
    *,
    lang: Lang = "en",
    order: Order = "label-first",
    style: Style = "tenfold",
    wrapper: tuple[str, str] = WRAPPERS["none"],
) -> Prompt:
    """The prompt for one response; the query may be empty.

    Raises:
        ConfigError: a text is not valid Unicode.
        UnknownNameError: a language or style that we do not have.
        MissingArtifactError: style official, but no prompts have been imported.
    """
    _check(query, response, rules, lang, style)
    if style == "official":
        return _official(query, response, rules, lang, order, wrapper)
    query, response, rules, spoof = _quoted(query, response, rules)
    parts = sections(style, lang)
    head = _head(parts, rules, order, style)
    body = f"{head.text}A: {query}\nB: "
    answer = parts[order.replace("-", "_")] if style == "short" else MARKERS[lang][0 if order == "label-first" else 1]
    wrapped = any(wrapper)
    return Prompt(
        text=body + response + ("" if wrapped else "\n"),
        answer=answer,
        query=(len(head.text) + 3, len(head.text) + 3 + len(query)),
        response=(len(body), len(body) + len(response)),
        rules=head.rules,
        lang=lang,
        before=wrapper[0],
        after=wrapper[1],
        spoof=spoof,
    )


def wrapper_of(tokenizer: PreTrainedTokenizerBase, name: str = "none") -> tuple[str, str]:
    """What stands around a prompt: none, chat (the tokenizer's template with an empty system message), or a family's name.

    Raises:
        UnknownNameError: no such wrapper.
        ConfigError: the tokenizer has no chat template.
    """
    if name != "chat":
        if name not in WRAPPERS:
            raise UnknownNameError("wrapper", name, [*WRAPPERS, "chat"])
        return WRAPPERS[name]
    if not tokenizer.chat_template:
        raise ConfigError("this tokenizer has no chat template; use wrapper none, or that of its family")
    mark = "\u241f"
    turns = [{"role": "system", "content": ""}, {"role": "user", "content": mark}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    before, found, after = text.partition(mark)
    assert found, text
    return before, after


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, continuation: str = "") -> list[int]:
    """Token ids of the prompt and what follows, cut into tokens as one text; only the wrapper may hold special tokens."""
    pieces = [*_wrapper_pieces(tokenizer, prompt.before), prompt.text, *_wrapper_pieces(tokenizer, prompt.after)]
    pieces.append(prompt.answer + continuation)
    ids: list[int] = []
    text = ""
    for piece in pieces:
        if isinstance(piece, int):
            ids += [*text_ids(tokenizer, text), piece]
            text = ""
        else:
            text += piece
    return [*ids, *text_ids(tokenizer, text)]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text in which nothing is a special token, whatever it looks like."""
    if not text:
        return []
    encoded: Any = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])


@cache
def sections(style: str, lang: str) -> Mapping[str, str]:
    """The parts of a prompt file, by the names in its `== name` lines."""
    text = (FOLDER / f"{style}.{lang}.txt").read_text(encoding="utf-8")
    pieces = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: part.rstrip("\n") for name, part in zip(pieces[::2], pieces[1::2], strict=True)}


def language_of(text: str) -> Lang:
    """zh where at least a fifth of the letters are Chinese, else en."""
    letters = [character for character in text if character.isalpha()]
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in letters)
    return "zh" if chinese and chinese >= 0.2 * len(letters) else "en"


def fingerprint(style: Style, lang: Lang, order: Order, wrapper: tuple[str, str]) -> str:
    """Names the wording, so that thresholds fitted under one prompt are not used under another."""
    marks = build_prompt("\u2460", "\u2461", ["\u2462"], lang=lang, order=order, style=style, wrapper=wrapper)
    bare = build_prompt("\u2460", "\u2461", (), lang=lang, order=order, style=style, wrapper=wrapper)
    return hashlib.sha256(f"{marks.digest}{bare.digest}".encode()).hexdigest()[:16]


def quote_imitations(text: str, *, is_rule: bool = False) -> tuple[str, bool]:
    """The text so that nothing in it imitates the prompt's own lines, and whether something did.

    Lines that begin like the prompt's are quoted; within a line, markers lose their brackets and chat tokens get a blank.
    """
    plain = BREAKS.sub("\n", text)
    quoted = "\n".join(_quoted_line(line, is_rule) for line in plain.split("\n"))
    return quoted, quoted != plain


def without_imitations(text: str) -> str:
    """The text without the lines that imitate the prompt's own."""
    lines = BREAKS.sub("\n", text).split("\n")
    return "\n".join(line for line in lines if _quoted_line(line, is_rule=False) == line)


def _quoted_line(line: str, is_rule: bool) -> str:
    broken = CHAT_TOKEN.sub(lambda found: found[0] + " ", MARKER.sub(r"(\1)", line))
    begins_like_ours = SPEAKER.match(line) or (is_rule and OWN_NUMBER.match(line))
    return QUOTE + broken if begins_like_ours else broken


@dataclass(frozen=True)
class _Head:
    text: str
    rules: tuple[tuple[int, int], ...]


def _head(parts: Mapping[str, str], rules: Sequence[str], order: Order, style: Style) -> _Head:
    """Everything above the dialogue."""
    if style == "short":
        return _with_rules(parts["task_with_rules" if rules else "task"] + "\n", rules)
    start = parts["task"] + "\n" + (parts["rules"] + "\n" if rules else "")
    head = _with_rules(start, rules)
    return _Head(head.text + parts[order.replace("-", "_")] + "\n\n", head.rules)


def _with_rules(start: str, rules: Sequence[str]) -> _Head:
    text, spans = start, []
    for number, rule in enumerate(rules, 1):
        text += f"{number}. "
        spans.append((len(text), len(text) + len(rule)))
        text += rule + "\n"
    return _Head(text, tuple(spans))


def _official(query: str, response: str, rules: Sequence[str], lang: Lang, order: Order, wrapper: tuple[str, str]) -> Prompt:
    """Byte for byte as the published code builds it; nothing is quoted there."""
    text = official_text(query, response, rules, lang, order)
    start = text.rindex(response)
    marker = MARKERS[lang][0 if order == "label-first" else 1]
    return Prompt(text, marker, (start, start), (start, start + len(response)), (), lang, *wrapper)


def _quoted(query: str, response: str, rules: Sequence[str]) -> tuple[str, str, list[str], bool]:
    query, first = quote_imitations(query)
    response, second = quote_imitations(response)
    quoted = [quote_imitations(rule, is_rule=True) for rule in rules]
    return query, response, [text for text, _ in quoted], first or second or any(bad for _, bad in quoted)


def _check(query: str, response: str, rules: Sequence[str], lang: str, style: str) -> None:
    if lang not in LANGS:
        raise UnknownNameError("language", lang, LANGS)
    if style not in STYLES:
        raise UnknownNameError("prompt style", style, STYLES)
    for text in (query, response, *rules):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError("a text holds half a surrogate pair, which is no Unicode; send valid UTF-8") from None


def _wrapper_pieces(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str | int]:
    """A wrapper as texts and ids of special tokens."""
    if not text:
        return []
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    known = {token.content: number for number, token in added.items()}
    if not known:
        return [text]
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return [known.get(piece, piece) for piece in re.split(f"({pattern})", text) if piece]
