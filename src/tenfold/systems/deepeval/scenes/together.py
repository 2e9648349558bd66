"""Situations of two figures and more. What a painter is given is told in `situations`."""

from random import Random

from tenfold.systems.deepeval.scenes.backdrops import backdrop, falling
from tenfold.systems.deepeval.scenes.canvas import Canvas
from tenfold.systems.deepeval.scenes.figures import SHIRTS, Mood, Person, chosen
from tenfold.systems.deepeval.scenes.things import DARK_WOOD, IRON, RED, bench, boat, half_loaf, loaf, rock, table, waves
from tenfold.systems.deepeval.scenes.tools import candle, glow, oar, phone, signpost, umbrella


def under_umbrella(canvas: Canvas, random: Random, weather: int, shelter: int) -> None:
    """Weather: rain, sun. The umbrella is over: the child, the grown-up."""
    one, two, look = chosen(random)
    kind = ("rain", "sun")[weather]
    backdrop(canvas, kind, random)
    falling(canvas, kind, random)
    mood = "sad" if (weather, shelter) == (0, 1) else "glad"
    Person((61, 89), 27, two, facing=-1, look=look, mood=mood).draw(canvas)
    hand = ((51.0, 57.0), (43.0, 53.0))[shelter]
    Person((36, 88), 46, one, look=look, hand=hand).draw(canvas)
    umbrella(canvas, hand, ((59.0, 40.0), (40.0, 27.0))[shelter], (15, 17)[shelter])


def in_the_boat(canvas: Canvas, random: Random, direction: int, sea: int) -> None:
    """The two row: the same way, against each other. The sea: calm, stormy."""
    one, two, look = chosen(random)
    weather = ("sun", "storm")[sea]
    backdrop(canvas, weather, random)
    waves(canvas, 66, high=sea == 1)
    other = (1, -1)[direction]
    mood = "glad" if direction == 0 and sea == 0 else "calm"
    for x, shirt, facing, who in ((34.0, one, other, 0), (62.0, two, 1, 1)):
        hand = (x + facing * 11, 52.0)
        Person((x, 68), 32, shirt, "sitting", facing=facing, look=look + who, mood=mood, hand=hand, hand2=hand).draw(canvas)
        oar(canvas, hand, (x + facing * 23, 78))
    boat(canvas, (50, 62), 66)
    falling(canvas, weather, random)


def seesaw(canvas: Canvas, random: Random, number: int, seat: int) -> None:
    """Children: one, three. The large figure sits: at the end, near the middle."""
    one, _, look = chosen(random)
    backdrop(canvas, "sun", random)
    tilt = ((9.0, 0.0), (0.0, -9.0))[number][seat]
    canvas.shape([(43, 88), (50, 74), (57, 88)], IRON)
    canvas.stroke([(10, 74 + tilt), (90, 74 - tilt)], 2.4, DARK_WOOD)
    x = (18.0, 36.0)[seat]
    Person((x + 1, 77 + tilt * (50 - x) / 40), 46, one, "squatting", "forward", look=look).draw(canvas)
    for place in range((1, 3)[number]):
        seat_x = 86.0 - 9 * place
        mood = "sad" if (number, seat) == (0, 0) else "glad"
        Person(
            (seat_x, 75 - tilt * (seat_x - 50) / 40), 19, SHIRTS[(place + 2) % 6], "squatting", "up", -1, mood, look + place
        ).draw(canvas)


def on_the_bench(canvas: Canvas, random: Random, company: int, looking: int) -> None:
    """On the bench: one figure, two. They look at: their phones, the moon."""
    one, two, look = chosen(random)
    backdrop(canvas, "night", random)
    bench(canvas, (46, 76), 58)
    for place in range((1, 2)[company]):
        x = ((46.0,), (32.0, 58.0))[company][place]
        hand = ((x + 9, 71.0), None)[looking]
        mood: Mood = "calm" if looking == 0 else "glad"
        gaze = (1.0, -0.9)[looking]
        shirt = (one, two)[place]
        Person((x, 90), 44, shirt, "sitting", mood=mood, look=look + place, hand=hand, gaze=gaze).draw(canvas)
        if hand:
            phone(canvas, (hand[0] + 1.5, hand[1] - 3))


def at_the_bridge(canvas: Canvas, random: Random, bridge: int, stance: int) -> None:
    """The bridge: whole, broken. The two: reach out, turn away."""
    one, two, look = chosen(random)
    backdrop(canvas, "sun", random)
    canvas.box((30, 72), (70, 100), (96, 172, 214))
    canvas.shape([(0, 72), (32, 72), (26, 100), (0, 100)], (134, 112, 88))
    canvas.shape([(68, 72), (100, 72), (100, 100), (74, 100)], (134, 112, 88))
    planks = [(26, 74)] if bridge == 0 else [(26, 40), (60, 74)]
    for left, right in planks:
        canvas.box((left, 69), (right, 72.5), DARK_WOOD, radius=0.8)
        for x in range(left + 1, right, 6):
            canvas.stroke([(x, 69), (x, 61)], 0.9, DARK_WOOD)
        canvas.stroke([(left + 1, 61), (right - 1, 61)], 0.9, DARK_WOOD)
    if bridge == 1:
        for x, y in ((44, 84), (53, 90), (57, 80)):
            canvas.box((x, y), (x + 6, y + 2), DARK_WOOD, radius=0.6)
    mood, arms = ("glad", "forward") if stance == 0 else ("sad", "hips")
    turn = (1, -1)[stance]
    Person((17, 72), 38, one, "standing", arms, turn, mood, look).draw(canvas)
    Person((83, 72), 38, two, "standing", arms, -turn, mood, look + 1).draw(canvas)


def two_candles(canvas: Canvas, random: Random, first: int, second: int) -> None:
    """The grown-up's candle: burns, is out. The child's candle: burns, is out."""
    one, two, look = chosen(random)
    backdrop(canvas, "night", random)
    hands = (45.0, 62.0), (59.0, 71.0)
    for hand, value in zip(hands, (first, second), strict=True):
        if value == 0:
            glow(canvas, hand)
    mood = "sad" if first == 1 and second == 1 else "glad"
    Person((26, 90), 46, one, hand=hands[0], look=look, mood=mood).draw(canvas)
    Person((75, 90), 30, two, facing=-1, hand=hands[1], look=look, mood=mood).draw(canvas)
    candle(canvas, hands[0], is_lit=first == 0)
    candle(canvas, hands[1], is_lit=second == 0)


def uphill(canvas: Canvas, random: Random, size: int, companion: int) -> None:
    """The stone: large, small. The second figure: pushes too, sits on top of it."""
    one, two, look = chosen(random)
    backdrop(canvas, "sun", random)
    canvas.shape([(0, 100), (0, 92), (100, 58), (100, 100)], (128, 172, 96))
    radius = (17.0, 8.5)[size]
    x = 62.0
    foot = 92 - 0.34 * x + 1
    rock(canvas, (x, foot), radius)
    hand = (x - radius * 0.92, foot - radius * 1.1)
    Person((x - radius - 13, foot + 8), 36, one, "walking", facing=1, hand=hand, hand2=hand, look=look, mood="calm").draw(
        canvas
    )
    if companion == 0:
        Person((x - radius - 28, foot + 13), 36, two, "walking", "forward", 1, "glad", look + 1).draw(canvas)
    else:
        Person((x, foot - 2 * radius + 3), 28, two, "squatting", "forward", 1, "glad", look + 1).draw(canvas)


def at_the_table(canvas: Canvas, random: Random, sharing: int, plenty: int) -> None:
    """The bread: shared, kept by one. There is: one loaf, a heap."""
    one, two, look = chosen(random)
    backdrop(canvas, "indoors", random)
    moods: tuple[Mood, Mood] = ("glad", "glad") if sharing == 0 else ("calm", "sad")
    Person((18, 92), 48, one, "sitting", "forward", 1, moods[0], look).draw(canvas)
    Person((82, 92), 48, two, "sitting", "forward", -1, moods[1], look + 1).draw(canvas)
    table(canvas, (50, 74), 48)
    piles = ((42.0, 58.0), (36.0, 64.0))[plenty] if sharing == 0 else (36.0,)
    for number, x in enumerate(piles):
        if plenty == 1:
            for dx, dy in ((-5.5, 0), (5.5, 0), (0, -5)):
                loaf(canvas, (x + dx, 72.6 + dy), 11)
        elif sharing == 0:
            half_loaf(canvas, (x, 72.6), cut_side=(1, -1)[number])
        else:
            loaf(canvas, (x, 72.6), 14)


def at_the_crossroads(canvas: Canvas, random: Random, boards: int, direction: int) -> None:
    """The signpost points: one way, two ways. The figure in red walks: with the crowd, against it."""
    _, _, look = chosen(random)
    backdrop(canvas, "sun", random)
    signpost(canvas, (50, 84), ((-1, -1), (-1, 1))[boards])
    for place, x in enumerate((10.0, 23.0, 36.0)):
        Person((x, 90), 27, (122, 128, 144), "walking", "down", -1, "calm", look + place).draw(canvas)
    facing = (-1, 1)[direction]
    x = (62.0, 72.0)[direction]
    Person((x, 92), 32, RED, "walking", "down", facing, "calm" if direction == 0 else "glad", look).draw(canvas)
