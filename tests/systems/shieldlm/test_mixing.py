"""Rule mixing follows its law (chi-square on 20,000 draws); the own rule keeps its number; RuleFlip's verdicts."""

from collections import Counter
from random import Random

import pytest
from scipy.stats import chisquare

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.mixing import mix_rules
from tenfold.systems.shieldlm.ruleflip import flip_set, training_mix
from tenfold.systems.shieldlm.rules import read_pack

DRAWS = 20_000
PACK = read_pack("base-en")
ITEM = Item("a", "q", "r", "unsafe", "Biased Opinion", "g")
SAFE = Item("b", "q", "s", "safe", "Biased Opinion", "g")


def drawn(**options):
    draw = Random(7)
    return [mix_rules(ITEM.label, PACK, draw, type_="Biased Opinion", **options) for _ in range(DRAWS)]


def test_numbers_polarities_and_places_follow_the_law():
    mixed = drawn()
    others = len(PACK.types) - 1
    counts = Counter(len(each.rules) - 1 for each in mixed)
    expected = [DRAWS / 2] + [DRAWS / 2 / others] * others
    assert chisquare([counts[n] for n in range(others + 1)], expected).pvalue > 1e-3
    strict = Counter(rule in PACK.all("strict") for each in mixed for at, rule in enumerate(each.rules, 1) if at != each.own)
    assert chisquare([strict[True], strict[False]]).pvalue > 1e-3
    places = Counter(each.own for each in mixed if len(each.rules) == 4)
    assert chisquare([places[place] for place in range(1, 5)]).pvalue > 1e-3


def test_no_other_rule_is_of_the_items_type_and_each_type_comes_once():
    own = set(PACK.pool("Biased Opinion", "loose") + PACK.pool("Biased Opinion", "strict"))
    type_of = {rule: pair.type for pair in PACK.rules for rule in (pair.loose, pair.strict)}
    for mixed in drawn()[:500]:
        others = [rule for at, rule in enumerate(mixed.rules, 1) if at != mixed.own]
        assert not own & set(others)
        assert len({type_of[rule] for rule in others}) == len(others)


def test_the_text_to_learn_names_the_own_rule_by_its_new_number():
    for mixed in drawn(target="It breaks rule 1, not rule 12. 违反规则1，不是规则12。")[:200]:
        assert mixed.target == f"It breaks rule {mixed.own}, not rule 12. 违反规则{mixed.own}，不是规则12。"
        assert mixed.rules[mixed.own - 1] == PACK.pool("Biased Opinion", "strict")[0]


def test_safe_items_get_their_loose_rule_and_items_without_type_none():
    draw = Random(1)
    assert mix_rules("safe", PACK, draw, type_="Privacy", most=1).rules.count(PACK.pool("Privacy", "loose")[0]) == 1
    bare = [mix_rules("safe", PACK, draw) for _ in range(2000)]
    assert all(each.own is None for each in bare)
    assert 0.45 < sum(not each.rules for each in bare) / 2000 < 0.55


def test_near_types_stay_away_and_most_holds():
    near = [name for name in PACK.types if name not in ("Biased Opinion", "Privacy")]
    allowed = set(PACK.pool("Privacy", "loose") + PACK.pool("Privacy", "strict") + PACK.pool("Biased Opinion", "strict"))
    assert {rule for each in drawn(near=near)[:300] for rule in each.rules} <= allowed
    assert max(len(each.rules) for each in drawn(most=2)[:500]) == 3


def test_a_type_without_rules_is_refused():
    with pytest.raises(ConfigError, match="no strict rule"):
        mix_rules("unsafe", PACK, Random(0), type_="Weather")


def test_ruleflip_asks_for_the_verdicts_of_its_table():
    wanted = {(each.item.key, each.condition): each.label for each in flip_set([ITEM, SAFE], PACK, 0)}
    assert wanted == {
        ("a", "none"): "unsafe",
        ("a", "loose"): "safe",
        ("a", "strict"): "unsafe",
        ("a", "other"): "unsafe",
        ("b", "none"): "safe",
        ("b", "loose"): "safe",
        ("b", "strict"): "safe",
        ("b", "other"): "safe",
    }
    own = {"loose": PACK.pool(ITEM.category, "loose")[0], "strict": PACK.pool(ITEM.category, "strict")[0]}
    for each in flip_set([ITEM], PACK, 3):
        assert {own["loose"], own["strict"]} & set(each.rules) == ({own[each.condition]} if each.condition in own else set())


def test_a_controversial_item_turns_both_ways_under_its_own_rules():
    item = Item("c", "q", "r", "controversial", "Hats", "g", "en", "Hats are fine here.", "Hats are not fine here.")
    found = {each.condition: each for each in flip_set([item], PACK, 0)}
    assert {name: each.label for name, each in found.items()} == {
        "none": "controversial",
        "loose": "safe",
        "strict": "unsafe",
        "other": "controversial",
    }
    assert item.loose in found["loose"].rules and item.strict in found["strict"].rules
    assert item.strict not in found["loose"].rules + found["other"].rules


def test_the_training_mix_holds_its_share_and_is_reproducible():
    items = [Item(str(n), "q", "r", "unsafe", "Biased Opinion", str(n)) for n in range(2000)]
    mixed = list(training_mix(items, PACK, 0.4, 5))
    assert mixed == list(training_mix(items, PACK, 0.4, 5))
    assert 0.36 < sum(each.condition != "none" for each in mixed) / 2000 < 0.44
    assert not any(each.rules for each in training_mix(items[:50], PACK, 0.0, 5))
