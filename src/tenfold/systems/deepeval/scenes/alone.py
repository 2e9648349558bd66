"""Situations of one figure, or of none. What a painter is given is told in `situations`."""

from random import Random

from tenfold.systems.deepeval.scenes.backdrops import backdrop, falling
from tenfold.systems.deepeval.scenes.canvas import Canvas
from tenfold.systems.deepeval.scenes.figures import Mood, Person, chosen
from tenfold.systems.deepeval.scenes.things import DARK_WOOD, RED, bird, cage, seedling, snowman, table, tear, tree, wall
from tenfold.systems.deepeval.scenes.tools import axe, balloon, clock, frame, ladder, watering_can


def at_the_wall(canvas: Canvas, random: Random, length: int, posture: int) -> None:
    """The ladder: long, short. The figure: climbs, sits."""
    one, _, look = chosen(random)
    backdrop(canvas, "sun", random)
    wall(canvas, 56, 100, 26, 88)
    foot, top = (((38.0, 91.0), (57.0, 20.0)), ((46.0, 91.0), (58.0, 58.0)))[length]
    ladder(canvas, foot, top)
    if posture == 0:
        step = ((47.0, 56.0), (48.5, 76.0))[length]
        Person(step, 30, one, "climbing", "up", look=look).draw(canvas)
    else:
        Person((20, 91), 36, one, "squatting", "forward", look=look, mood="sad").draw(canvas)


def at_the_tree(canvas: Canvas, random: Random, plant: int, tool: int) -> None:
    """The plant: a seedling, a tree. The figure holds: a watering can, an axe."""
    one, _, look = chosen(random)
    backdrop(canvas, "sun", random)
    (seedling(canvas, (68, 89)) if plant == 0 else tree(canvas, (70, 89), 60))
    hand = (46.0, 62.0) if tool == 0 else (42.0, 48.0)
    Person((32, 89), 44, one, "standing", look=look, mood=("glad" if tool == 0 else "calm"), hand=hand).draw(canvas)
    (watering_can(canvas, (47, 64)) if tool == 0 else axe(canvas, hand, (47, 31)))


def bird_cage(canvas: Canvas, random: Random, door: int, place: int) -> None:
    """The door: open, locked. The bird: inside, outside on top."""
    backdrop(canvas, "indoors", random)
    colour = random.choice(((240, 190, 60), (92, 166, 220), (232, 112, 96)))
    table(canvas, (50, 78), 70)
    if place == 0:
        bird(canvas, (46, 72), 8, colour)
    cage(canvas, (48, 76), is_open=door == 0, width=38, height=44)
    if place == 1:
        bird(canvas, (40, 30.5), 8, colour, facing=-1)


def before_the_mirror(canvas: Canvas, random: Random, image: int, posture: int) -> None:
    """The reflection: larger, the same size. The figure: upright, bowed."""
    one, _, look = chosen(random)
    backdrop(canvas, "indoors", random)
    frame(canvas, (54, 20), (92, 86))
    pose = ("standing", "bowed")[posture]
    moods: tuple[Mood, Mood] = ("calm", "sad")
    mood = moods[posture]
    mirrored = "glad" if image == 0 else mood
    shown = "standing" if image == 0 else pose
    Person((73, 84), (56.0, 32.0)[image], one, shown, "hips" if image == 0 else "down", -1, mirrored, look).draw(canvas)
    Person((28, 90), 34, one, pose, "down", 1, mood, look).draw(canvas)


def under_the_clock(canvas: Canvas, random: Random, time: int, posture: int) -> None:
    """The time: day, night. The figure: runs, lies."""
    one, _, look = chosen(random)
    backdrop(canvas, ("sun", "night")[time], random)
    canvas.stroke([(50, 86), (50, 60)], 2.6, DARK_WOOD)
    clock(canvas, (50, 40), 20, (1, 10)[time])
    if posture == 0:
        Person((44, 94), 36, one, "running", "forward", 1, "calm", look).draw(canvas)
    else:
        Person((52, 93), 46, one, "lying", mood="asleep", look=look, hand=(52, 85), hand2=(50, 86)).draw(canvas)


def with_balloon(canvas: Canvas, random: Random, grip: int, mood: int) -> None:
    """The balloon: held, flying off. The child: smiles, weeps."""
    one, _, look = chosen(random)
    backdrop(canvas, "sun", random)
    hand = (57.0, 54.0)
    child = Person((42, 92), 56, one, "standing", look=look, mood=("glad", "sad")[mood], hand=hand)
    if grip == 0:
        balloon(canvas, (62, 30), hand)
    else:
        balloon(canvas, (84, 17), (80, 40))
    child.draw(canvas)
    if mood == 1:
        x, y = child.joint("head")
        tear(canvas, (x + 5.4, y + 4.6))
        tear(canvas, (x - 1.0, y + 5.8))


def snow_friend(canvas: Canvas, random: Random, weather: int, scarf: int) -> None:
    """Weather: snow, sun. The scarf is worn by: the snowman, the child."""
    one, _, look = chosen(random)
    kind = ("snow", "sun")[weather]
    backdrop(canvas, kind, random)
    falling(canvas, kind, random)
    snowman(canvas, (62, 90), melting=weather == 1, scarf=RED if scarf == 0 else None)
    child = Person((26, 91), 36, one, "standing", "forward", 1, "glad" if weather == 0 else "sad", look)
    child.draw(canvas)
    if scarf == 1:
        x, y = child.joint("neck")
        canvas.box((x - 4.6, y - 1.6), (x + 4.6, y + 1.6), RED, radius=1.4)
        canvas.box((x - 3.6, y), (x - 0.8, y + 8), (190, 60, 60), radius=1)
