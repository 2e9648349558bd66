"""Which mentions of an option are statements of a choice, and which are rejections; and what is a refusal.

A statement is a cue before the mention ("the correct answer is B", "I choose B", "so B.") or a predicate after it ("B is
correct", "option B fits best"). A question ("is it B?"), a condition ("if the answer were B") and a denial are none.
"""

import re
from collections.abc import Mapping

from tenfold.evals.parsing.mentions import Mention, is_as_written, is_word_instead, stops

WINDOW = 160
LEAD = r"[\s\"'(\[{:]*+(?:(?:option|choice|letter|answer|number|alternative|title)\s++)?+[\"'(\[{]*+"
LEAD_END = re.compile(rf"{LEAD}\Z", re.IGNORECASE)
NOUN = (
    r"(?:answer|choice|option|selection|pick|solution|guess|conclusion|verdict|response|title|meaning|description|"
    r"caption|letter|result|one|interpretation|message|statement|antwort|titel|l\u00f6sung|option|r\u00e9ponse|titre|respuesta|"
    r"opci\u00f3n|t\u00edtulo|risposta|resposta|ответ|\u7b54\u6848|\u7b54\u3048|\u9009\u9879|\u9009\u62e9|\u9078\u629e|\uc815\ub2f5|\ub2f5)"
)
FIRM = (
    r"(?:is|was|would be|should be|must be|has to be|will be|ist|lautet|est|es|\u00e8|\u00e9|это|"
    r"\u662f|\u4e3a|\u306f|\uc740)"
)
SURELY = (
    r"(?:\s*(?:clearly|definitely|therefore|thus|then|indeed|simply|most likely|probably|likely|actually|still|hence|also|"
    r"equally)\b,?)*"
)
WORD = r"(?:\s+(?!not\b|n't|never)[^\s.:;?!,\"()]+)"
ASIDE = r"(?:\s*,[^,.:;?!\n]{1,40},)?"
NOUN_IS = re.compile(
    rf"{NOUN}(?:{WORD}{{0,8}}?{ASIDE}\s*,?\s*(?<![A-Za-z]){FIRM}(?![A-Za-z]){ASIDE}"
    rf"|(?:\s+(?![A-Za-z]\b)[^\s.:;?!,\"()]+){{0,3}}?\s*[:=\u2192]|\s*\n)"
    rf"{SURELY}\s*[:\u2014\-]*{LEAD}\Z",
    re.IGNORECASE,
)
NOUN_ALONE = re.compile(r"\banswer\s+[\"'(\[]*\Z", re.IGNORECASE)
CHOOSE = re.compile(
    r"(?:\b(?:choose|chose|choosing|pick|picked|picking|select|selected|selecting|opt(?:ed|ing)? for|"
    r"go(?:ing)? (?:with|for)|went (?:with|for)|vote for|settled? on|stick with|prefer|take|nehme|w\u00e4hle|choisis|"
    r"choisirais|elijo|escojo|scelgo|escolho)|выбираю|"
    rf"[\u9009\u9078](?:[\u62e9\u64c7\u629e]|\u62e9\u7684\u662f)?){SURELY}{LEAD}\Z",
    re.IGNORECASE,
)
HENCE = re.compile(
    r"(?:\b(?:so|thus|hence|therefore|leaves|leaving|remains|must be|has to be|it's|it is|this is|that's|that is|"
    r"would be|say|think|guess|believe|namely|only|we (?:get|have|obtain|arrive at)|points? to|indicates?|"
    r"(?:sorry|wait|no|nope|actually|correction|rather)\s*[,:]|"
    r"(?<!not )(?:best|perfectly|closely|accurately) \w+ed (?:up )?(?:by|in))|=>|\u2192|\u21d2)"
    rf"(?:\s+(?:us with|with|only|that|it is|it's|it must be|the))?{SURELY}\s*+,?{LEAD}\Z",
    re.IGNORECASE,
)
BUT = re.compile(rf"(?:\bnot\b|n't\b)[^.;\n]{{0,80}}?\bbut(?:\s+(?:rather|instead|it is))?{LEAD}\Z", re.IGNORECASE)
SAID = r"(?:correct|right|best|answer|accurate|suitable|fitting|appropriate|likely|plausible|convincing|winner|one|choice)"
SUITS = r"(?:describe|fit|match|capture|suit|reflect|summari[sz]e|convey|represent|express|work|get)"
PREDICATE = re.compile(
    r"[\"')\]}]*(?:\s*,[^,.;\n]{1,60},)?\s+(?:"
    rf"(?:is|seems|looks|appears|would be|must be|has to be|should be)(?:\s+(?:clearly|definitely|indeed|thus|therefore))?"
    rf"(?:\s+to be)?(?:\s+(?:the|my|our))?(?:\s+(?:most|single|only|final|very|best|correct|right))*\s+{SAID}\b"
    r"|(?:is|does)(?=\s*[.!]?\s*(?:\Z|\n))"
    rf"|(?:to be|as|the|my)(?:\s+the)?(?:\s+(?:most|single|only|final|very|best|correct|right))*\s+{SAID}\b"
    rf"|(?:clearly |really |perfectly )?best\s+{SUITS}\w*|(?:clearly |perfectly ){SUITS}\w*"
    rf"|{SUITS}s[^.;\n]{{0,40}}?\b(?:best|perfectly|better)\b"
    r"|(?:makes? the most sense|it is\b|wins\b|remains\b|survives\b)|"
    r"ist (?:richtig|korrekt)|w\u00e4hlen\b|nehmen\b|est correcte?|es correcta?)"
    r"(?!\s+(?:only\s+)?(?:if|when|wrong|incorrect|not|trap|distractor|mistake)\b)",
    re.IGNORECASE,
)
DOUBTED = re.compile(
    r"(?:\b(?:if|whether|suppose|assuming|unless|nor|neither|cannot|could have been|doubt|is|was)\b|\bnot\b|n't\b|\bnever\b)"
    r"(?:\s+(?:that|think|thinks|believe|say|true|claim|sure|certain|want|to|mean|i|we|really|the|an?|simply|just|would))*"
    r"\s*\Z",
    re.IGNORECASE,
)
DENIED = re.compile(
    r"\s*[\"')\]]*\s*(?:\?|\.{3}\s*(?:no|wait|hmm)\b|(?:is|would be|was)\s+(?:not|wrong|incorrect)\b)", re.IGNORECASE
)
CLOSES = re.compile(r"[\"')\]}]*\s*(?:[.!,;]|\Z|\n|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])")
UNSURE = re.compile(
    r"\b(?:if|whether|unless|why|which|what|how|suppose|assuming|neither|nor|never|doubt|torn|between|start\w*|begin\w*|"
    r"look\w*|consider\w*|compar\w*|regarding|about|than|in contrast to|unlike|like|"
    r"wrong|incorrect|false|cannot|no|none|out|exclud\w*|eliminat\w*|reject\w*|unlikely|bad|sorry|unable)\b|\bnot\b|n't\b",
    re.IGNORECASE,
)
THING = re.compile(
    r"\b(?:an?|another|each|every|some|two|big|large|small|red|written|saying|labell?ed|marked|shape\w*)\s+[\"'(\[]*\Z",
    re.IGNORECASE,
)
LETTERS = r"(?:(?!I\b)[A-Z]\b[\"')\]]*+(?:\s*+(?:,|/|&|and\b|or\b|nor\b))*+[\s\"'(\[]*+)*+"
SUITED = re.compile(rf"[\"')\]}}]*\s+{SUITS}(?:e?s)\b(?!\s+(?:less|only|poorly|badly|part|worse)\w*)", re.IGNORECASE)
ADDED = re.compile(rf"\b(?:also|equally)\s+{LEAD}\Z", re.IGNORECASE)
YES = re.compile(r"[\"')\]}]*\s*(?:[:\-\u2013\u2014]|\?\s*)\s*(?:yes|right|correct|true)\b", re.IGNORECASE)
NO = re.compile(r"[\"')\]}]*\s*\?\s*(?:no|nope|wrong|hardly)\b", re.IGNORECASE)
ALL_BUT = re.compile(
    rf"\b(?:(?P<all>all|every|everything|each|any)|none|no|nothing)\b[^.;\n]{{0,40}}?"
    rf"\b(?:except|but|besides|other than|apart from|save)(?: for)?{LEAD}\Z",
    re.IGNORECASE,
)
REJECT_BEFORE = re.compile(
    r"(?i:\bnot\b|n't\b|\bnever\b|\bneither\b|\bnor\b|\brather than\b|\binstead of\b|\brul(?:e|es|ed|ing) out\b|"
    r"\bless (?:likely|convincing|fitting)\b|\bcross(?:ed|ing)? out\b|\bstrike\b|\bskip\b|\bremove\b|"
    r"\bnicht\b|\bkeine?\b|\bpas\b|\bне\b|\u4e0d\u662f|"
    r"\beliminat\w+|\bexclud\w+|\bdiscard\w*|\breject\w*|\bdismiss\w*|\bexcept\b|\bunlike\b|\bdrop\b|\bagainst\b)"
    r"(?:\s+(?:be|choose|pick|select|go with|say|options?|choice|the|answer|think|it is|both|either|even|as|well)\b)*+"
    rf"[\s\"'(\[]*+{LETTERS}(?:(?:option|choice)\s++)?+[\"'(\[]*+\Z"
)
REJECT_AFTER = re.compile(
    rf"[\"')\]]*+(?!\s*,\s*(?:not|never)\b)"
    rf"(?:(?:\s*+(?:,|and\b|or\b|/|&))++[\s\"'(\[]*+(?:option\s++)?+{LETTERS})?\s*+[,:\-\u2013]?\s*+"
    r"(?:(?:alone|both|all|is|are|was|were|would be|seems?|looks?|appears?|can|could|do|does|did|has|have|also|clearly|"
    r"simply|just|therefore|thus|definitely|hardly)\s*(?:be\s+)?)*"
    r"(?:not\b|n't\b|cannot\b|wrong|incorrect|false|out\b|no\b|never|too\b|miss(?:es|ing)?\b|fails?\b|lacks?\b|irrelevant|"
    r"unlikely|implausible|off\b|eliminated|excluded|rejected|ruled out|less\b|unrelated|ignores?|contradicts?|"
    r"impossible|nonsense|weak|tempting|can't|doesn't|don't|isn't|aren't)",
)
REFUSAL = re.compile(
    r"\b(?:(?:can(?:\s?not|'t)|(?:am|'m|are) (?:not able|unable) to|unable to|do(?:n't| not) have the ability to|"
    r"could(?:n't| not))\s+(?:\w+\s+){0,2}?(?:see|view|access|look at|open|help|assist|answer|determine|"
    r"comply|provide|process|interpret|analy[sz]e|identify|fulfil\w*|display|load|tell)"
    r"|do(?:n't| not)\s+(?:\w+\s+)?(?:see|have access to|have) (?:\w+\s+)?(?:image|picture|cartoon|photo|drawing)"
    r"|no (?:image|picture|cartoon|photo|attachment)s? (?:is |was |has been |were )?(?:attached|provided|visible|included|"
    r"given|uploaded|shown|available|here|found)"
    r"|as an? (?:ai|language model|text[- ]based)|(?:please|could you) (?:upload|share|attach|provide|send)|"
    r"(?:refuse|decline) to|won't (?:answer|help)|not (?:able|allowed) to (?:answer|help|see|view|assist)|against my|"
    r"(?:image|picture|cartoon|photo) (?:is|was) (?:missing|not (?:attached|included|provided|visible))|"
    r"kann\b[^.\n]{0,40}\b(?:nicht|keine?\w*)\b[^.\n]{0,20}(?:sehen|beantworten|anzeigen|helfen)|need to see|have to see|"
    r"without (?:seeing |having )?(?:the|an?|any) (?:image|picture|cartoon)|ne (?:peux|vois) pas|"
    r"no puedo (?:ver|ayudar|responder)|non (?:posso|riesco)|n\u00e3o (?:posso|consigo)|не (?:могу|вижу))"
    r"|(?:\u65e0\u6cd5|\u4e0d\u80fd|\u770b\u4e0d\u5230)[^\n\u3002]{0,6}(?:\u770b|\u56fe|\u56de\u7b54|\u67e5)|"
    r"\u898b\u308b\u3053\u3068\u304c\u3067\u304d",
    re.IGNORECASE,
)


def is_statement(text: str, mention: Mention, options: Mapping[str, str]) -> bool:
    """Whether the answer says here that this option is its choice."""
    before, after = text[max(0, mention.start - WINDOW) : mention.start], text[mention.end : mention.end + WINDOW]
    if DENIED.match(after) and not YES.match(after):
        return False
    if mention.kind == "text" and not mention.exact and not stops(text, mention.end):
        return False
    cued = not is_word_instead(text, mention) and _is_cued(text, before, mention, options)
    return cued or (mention.letter in options and _is_predicated(before, mention, after))


def is_rejected(text: str, mention: Mention) -> bool:
    """Whether the clause around a mention speaks against it."""
    before = text[max(0, mention.start - WINDOW) : mention.start]
    if ALL_BUT.search(before):
        return False
    if REJECT_BEFORE.search(before) or NO.match(text, mention.end):
        return True
    return REJECT_AFTER.match(_clause_after(text, mention.end)) is not None


def is_closing(text: str, mention: Mention) -> bool:
    """Whether a sentence ends with this letter, so that it is what the sentence comes to; a question or a doubt is not."""
    before = text[max(0, mention.start - WINDOW) : mention.start]
    if not CLOSES.match(text, mention.end):
        return False
    sentence = re.split(r"[.!?\n]", before)[-1]
    return not (UNSURE.search(sentence) or THING.search(sentence))


def is_weakly_praised(text: str, mention: Mention) -> bool:
    """Whether what follows speaks for an option without saying that it is the choice ("B fits because of the road")."""
    return SUITED.match(text, mention.end) is not None


def is_added(text: str, mention: Mention) -> bool:
    """Whether a statement adds its option to an earlier one ("the answer is also D")."""
    return ADDED.search(text[max(0, mention.start - WINDOW) : mention.start]) is not None


def is_refusal(text: str) -> bool:
    """Whether the answer says that it cannot or will not answer."""
    return REFUSAL.search(text.replace("\u2019", "'")) is not None


def _is_cued(text: str, before: str, mention: Mention, options: Mapping[str, str]) -> bool:
    """Whether what comes before a mention says that it is the choice."""
    if mention.kind == "small" or mention.letter not in options:
        return _after(NOUN_IS, before) is True
    for cue in (NOUN_IS, CHOOSE):
        said = _after(cue, before)
        if said is not None:
            return said
    if BUT.search(before):
        return True
    by_chance = mention.kind == "text" and not mention.exact and not is_as_written(text, mention, options)
    if by_chance or not stops(text, mention.end):
        return False
    if REJECT_AFTER.match(_clause_after(text, mention.end)):
        return False
    return _after(HENCE, before) is True or (mention.kind == "letter" and NOUN_ALONE.search(before) is not None)


def _after(cue: re.Pattern[str], before: str) -> bool | None:
    """Whether a cue stands before a mention and nothing before the cue denies it; None where there is no cue."""
    found = cue.search(before)
    return None if found is None else DOUBTED.search(before[: found.start()]) is None


def _is_predicated(before: str, mention: Mention, after: str) -> bool:
    """Whether what comes after a mention says that it is the choice."""
    if mention.kind == "small":
        return False
    others = ALL_BUT.search(before)
    if others:
        return (others["all"] is not None) == (REJECT_AFTER.match(after) is not None)
    if YES.match(after):
        return True
    return PREDICATE.match(after) is not None and not DOUBTED.search(LEAD_END.sub("", before))


def _clause_after(text: str, end: int) -> str:
    """What follows up to the end of the clause."""
    clause = re.match(r"(?:(?!, (?:so|but|therefore|it|thus|hence|the)\b)[^.;!?\n])*", text[end : end + WINDOW])
    return clause.group() if clause else ""
