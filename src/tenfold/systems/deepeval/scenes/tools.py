"""What figures hold, climb, read or look into; each is drawn from the hand that holds it, or from its foot."""

from tenfold.systems.deepeval.scenes.canvas import INK, Canvas, Colour, Point, cosine, mixed, sine
from tenfold.systems.deepeval.scenes.things import DARK_WOOD, GOLD, PAPER, RED, WOOD


def umbrella(canvas: Canvas, hand: Point, top: Point, radius: float, colour: Colour = RED) -> None:
    """From the hand that holds it to the tip."""
    x, y = top
    canvas.stroke([hand, top], 0.9, INK)
    canvas.slice((x, y + radius * 0.75), radius, radius * 0.8, 180, 360, colour)
    for place in (-0.66, 0.0, 0.66):
        canvas.oval((x + place * radius, y + radius * 0.76), radius * 0.30, radius * 0.12, mixed(colour, INK, 0.25))
    canvas.disc((x, y - 0.6), 0.8, INK)


def ladder(canvas: Canvas, foot: Point, top: Point) -> None:
    """Two poles and rungs, leaning from foot to top."""
    (x, y), (u, v) = foot, top
    for side in (-3.4, 3.4):
        canvas.stroke([(x + side, y), (u + side, v)], 1.3, DARK_WOOD)
    num_rungs = max(3, round((y - v) / 6))
    for rung in range(1, num_rungs):
        share = rung / num_rungs
        middle, height = x + (u - x) * share, y + (v - y) * share
        canvas.stroke([(middle - 3.4, height), (middle + 3.4, height)], 1.1, WOOD)


def axe(canvas: Canvas, grip: Point, end: Point) -> None:
    """A handle from the grip to the head."""
    canvas.stroke([grip, end], 1.3, DARK_WOOD)
    x, y = end
    canvas.shape([(x - 0.5, y - 3.2), (x + 5.4, y - 4.6), (x + 5.4, y + 4.6), (x - 0.5, y + 2.0)], (176, 184, 196))


def watering_can(canvas: Canvas, at: Point) -> None:
    """Held at its handle, pouring to the right."""
    x, y = at
    blue: Colour = (78, 132, 190)
    canvas.arc((x, y), 3.6, 3.4, 180, 360, 1.0, blue)
    canvas.box((x - 4, y), (x + 4, y + 7), blue, radius=1)
    canvas.stroke([(x + 3.5, y + 5), (x + 9, y + 1)], 1.4, blue)
    for step in range(4):
        start = x + 9.8 + step * 0.9, y + 1.6 + step * 1.1
        canvas.stroke([start, (start[0] + 1.2, start[1] + 3.2)], 0.5, (150, 200, 240))


def oar(canvas: Canvas, hand: Point, blade: Point) -> None:
    canvas.stroke([hand, blade], 1.0, DARK_WOOD)
    canvas.oval(blade, 1.8, 3.0, DARK_WOOD)


def phone(canvas: Canvas, at: Point) -> None:
    x, y = at
    canvas.disc((x, y), 4.2, (176, 220, 250))
    canvas.box((x - 1.9, y - 3.2), (x + 1.9, y + 3.2), INK, radius=0.8)
    canvas.box((x - 1.3, y - 2.5), (x + 1.3, y + 2.3), (120, 206, 250), radius=0.3)


def candle(canvas: Canvas, at: Point, *, is_lit: bool) -> None:
    """Held at its lower end."""
    x, y = at
    canvas.box((x - 1.7, y - 9), (x + 1.7, y + 1), PAPER, radius=0.5)
    canvas.stroke([(x, y - 9), (x, y - 10.6)], 0.6, INK)
    if is_lit:
        canvas.shape([(x - 1.7, y - 11.8), (x, y - 16.5), (x + 1.7, y - 11.8)], (255, 176, 60))
        canvas.disc((x, y - 11.8), 1.7, (255, 176, 60))
        canvas.disc((x, y - 11.6), 0.9, (255, 240, 170))


def glow(canvas: Canvas, at: Point) -> None:
    """The light around a candle that is held at `at`; drawn before the figures."""
    for radius, share in ((13.0, 0.10), (9.0, 0.22), (5.6, 0.42)):
        canvas.disc((at[0], at[1] - 12.5), radius, mixed((58, 56, 100), (255, 214, 120), share))


def clock(canvas: Canvas, centre: Point, radius: float, hour: int) -> None:
    canvas.disc(centre, radius, DARK_WOOD)
    canvas.disc(centre, radius * 0.88, PAPER)
    for mark in range(12):
        canvas.disc(_hand(centre, radius * 0.74, mark), 0.9 if mark % 3 == 0 else 0.5, INK)
    canvas.stroke([centre, _hand(centre, radius * 0.44, hour)], 1.6, INK)
    canvas.stroke([centre, _hand(centre, radius * 0.66, 0)], 1.0, INK)
    canvas.disc(centre, 1.3, RED)


def _hand(centre: Point, length: float, hour: int) -> Point:
    return centre[0] + length * sine(30 * hour), centre[1] - length * cosine(30 * hour)


def balloon(canvas: Canvas, centre: Point, end: Point, colour: Colour = RED) -> None:
    """The balloon and its string, which ends at `end`."""
    x, y = centre
    middle = (x + end[0]) / 2 + 1.5, (y + end[1]) / 2
    canvas.stroke([(x, y + 9), middle, end], 0.4, INK)
    canvas.shape([(x - 1.5, y + 10.4), (x, y + 8), (x + 1.5, y + 10.4)], mixed(colour, INK, 0.2))
    canvas.oval(centre, 7.4, 9, colour)
    canvas.oval((x - 2.6, y - 3.4), 1.7, 2.5, mixed(colour, PAPER, 0.55))


def signpost(canvas: Canvas, at: Point, directions: tuple[int, int]) -> None:
    """Two boards, each pointing right (1) or left (-1)."""
    x, y = at
    canvas.stroke([at, (x, y - 44)], 2.0, DARK_WOOD)
    for height, direction in zip((40, 30), directions, strict=True):
        board = [
            (-direction * 8, -3.4),
            (direction * 9, -3.4),
            (direction * 14, 0),
            (direction * 9, 3.4),
            (-direction * 8, 3.4),
        ]
        canvas.shape([(x + dx, y - height + dy) for dx, dy in board], GOLD)
        canvas.stroke([(x - direction * 5, y - height), (x + direction * 8, y - height)], 0.8, DARK_WOOD)


def frame(canvas: Canvas, corner: Point, other: Point) -> None:
    """A standing mirror."""
    canvas.box((corner[0] - 2, corner[1] - 2), (other[0] + 2, other[1] + 2), GOLD, radius=3)
    canvas.box(corner, other, (212, 232, 240), radius=2)
    for shift in (0, 5):
        canvas.stroke([(corner[0] + 3 + shift, corner[1] + 9), (corner[0] + 9 + shift, corner[1] + 3)], 0.7, (246, 252, 255))
