"""What lies behind a scene: sky, weather and ground; details come from the scene's own seeded generator."""

from random import Random
from typing import Literal

from tenfold.systems.deepeval.scenes.canvas import Canvas, Colour, Point, cosine, mixed, sine

Weather = Literal["sun", "rain", "snow", "night", "storm", "indoors"]
GROUND = 80.0
"""Where figures stand, in units from the top."""

SKIES: dict[Weather, tuple[Colour, Colour]] = {
    "sun": ((126, 196, 240), (226, 243, 250)),
    "rain": ((112, 126, 148), (190, 200, 212)),
    "snow": ((168, 190, 214), (232, 240, 248)),
    "night": ((24, 28, 66), (74, 72, 122)),
    "storm": ((58, 64, 84), (140, 148, 162)),
    "indoors": ((250, 236, 210), (246, 226, 194)),
}
GROUNDS: dict[Weather, Colour] = {
    "sun": (134, 190, 98),
    "rain": (102, 146, 96),
    "snow": (244, 248, 252),
    "night": (84, 116, 118),
    "storm": (84, 110, 92),
    "indoors": (206, 164, 122),
}


def backdrop(canvas: Canvas, weather: Weather, random: Random) -> None:
    """Sky, what hangs in it, and the ground; rain and snow fall later, in front of all."""
    sky(canvas, weather)
    if weather == "sun":
        sun(canvas, (16 + random.random() * 4, 16 + random.random() * 3))
        cloud(canvas, (62 + random.random() * 18, 14 + random.random() * 5), (255, 255, 255))
    elif weather == "night":
        stars(canvas, random)
        moon(canvas, (80 + random.random() * 6, 17 + random.random() * 3))
    elif weather in ("rain", "storm", "snow"):
        grey: Colour = (92, 98, 116) if weather == "storm" else (214, 220, 228)
        for x in (14, 46, 80):
            cloud(canvas, (x + random.random() * 8, 10 + random.random() * 5), grey)
    ground(canvas, weather, random)


def sky(canvas: Canvas, weather: Weather) -> None:
    top, bottom = SKIES[weather]
    for band in range(100):
        canvas.box((0, band), (100, band + 1), mixed(top, bottom, band / 99))


def ground(canvas: Canvas, weather: Weather, random: Random) -> None:
    """A hill behind and the floor in front; indoors a wall's foot and a floor."""
    floor = GROUNDS[weather]
    if weather == "indoors":
        canvas.box((0, GROUND - 4), (100, 100), floor)
        canvas.box((0, GROUND - 4.8), (100, GROUND - 3.4), mixed(floor, (90, 60, 40), 0.5))
        return
    hill = 20 + random.random() * 60
    canvas.oval((hill, GROUND + 6), 55, 18, mixed(floor, SKIES[weather][1], 0.45))
    canvas.oval((50, GROUND + 20), 90, 24, floor)


def sun(canvas: Canvas, centre: Point, radius: float = 8) -> None:
    x, y = centre
    for angle in range(0, 360, 30):
        inner, outer = radius * 1.3, radius * 1.75
        canvas.stroke(
            [(x + inner * cosine(angle), y + inner * sine(angle)), (x + outer * cosine(angle), y + outer * sine(angle))],
            1.2,
            (255, 204, 72),
        )
    canvas.disc(centre, radius, (255, 210, 84))


def moon(canvas: Canvas, centre: Point, radius: float = 8) -> None:
    canvas.disc(centre, radius, (250, 240, 198))
    for dx, dy, size in ((-2.5, -1.5, 1.6), (2.2, 2.4, 1.2), (2.4, -3.0, 0.9)):
        canvas.disc((centre[0] + dx, centre[1] + dy), size, (230, 216, 170))


def stars(canvas: Canvas, random: Random) -> None:
    for _ in range(26):
        canvas.disc((random.random() * 100, random.random() * 52), 0.3 + random.random() * 0.35, (246, 240, 214))


def cloud(canvas: Canvas, centre: Point, colour: Colour) -> None:
    x, y = centre
    for dx, dy, radius in ((-8, 1.5, 4.5), (-2.5, -1.5, 6.2), (4.5, 0, 5.2), (10, 2, 3.8)):
        canvas.disc((x + dx, y + dy), radius, colour)
    canvas.box((x - 10, y + 1), (x + 12, y + 6), colour, radius=2.5)


def falling(canvas: Canvas, weather: Weather, random: Random) -> None:
    """Rain or snow, over everything that was drawn before."""
    if weather in ("rain", "storm"):
        for _ in range(70):
            x, y = random.random() * 106, 18 + random.random() * 80
            canvas.stroke([(x, y), (x - 1.1, y + 3.6)], 0.45, (206, 222, 240))
    elif weather == "snow":
        for _ in range(75):
            canvas.disc((random.random() * 100, 10 + random.random() * 88), 0.5 + random.random() * 0.5, (255, 255, 255))
