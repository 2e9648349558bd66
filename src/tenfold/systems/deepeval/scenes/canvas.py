"""A square sheet for drawing in units of 1/100 of its side, x to the right and y down.

Everything is drawn four times too large and averaged down in whole numbers, so lines are smooth and the same drawing gives
the same pixels on every machine. Only Pillow's own shapes are used: no fonts, no files.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
OVERSAMPLING = 4
INK: Colour = (58, 54, 66)


class Canvas:
    """A sheet and its pen."""

    def __init__(self, size: int, paper: Colour = (255, 255, 255)) -> None:
        self.sheet = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING), paper)
        self.pen = ImageDraw.Draw(self.sheet)
        self.unit = size * OVERSAMPLING / 100

    def finish(self) -> Image.Image:
        """The drawing at its proper size."""
        return self.sheet.reduce(OVERSAMPLING)

    def _at(self, point: Point) -> Point:
        return round(point[0] * self.unit), round(point[1] * self.unit)

    def _around(self, centre: Point, rx: float, ry: float) -> tuple[Point, Point]:
        return self._at((centre[0] - rx, centre[1] - ry)), self._at((centre[0] + rx, centre[1] + ry))

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        self.pen.ellipse(self._around(centre, radius, radius), fill=colour)

    def oval(self, centre: Point, rx: float, ry: float, colour: Colour) -> None:
        self.pen.ellipse(self._around(centre, rx, ry), fill=colour)

    def slice(self, centre: Point, rx: float, ry: float, start: float, end: float, colour: Colour) -> None:
        """A filled piece of an oval between two angles in degrees, clockwise from the right."""
        self.pen.chord(self._around(centre, rx, ry), start, end, fill=colour)

    def stroke(self, points: Sequence[Point], width: float, colour: Colour = INK) -> None:
        """A line through points with round ends and corners."""
        thick = max(1, round(width * self.unit))
        self.pen.line([self._at(point) for point in points], fill=colour, width=thick)
        for point in points:
            self.disc(point, width / 2, colour)

    def arc(self, centre: Point, rx: float, ry: float, start: float, end: float, width: float, colour: Colour = INK) -> None:
        """A bow between two angles in degrees, clockwise from the right."""
        steps = [start + (end - start) * step / 24 for step in range(25)]
        self.stroke([(centre[0] + rx * cosine(angle), centre[1] + ry * sine(angle)) for angle in steps], width, colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self.pen.polygon([self._at(point) for point in points], fill=colour)

    def box(self, corner: Point, other: Point, colour: Colour, radius: float = 0.0) -> None:
        """A rectangle with rounded corners."""
        self.pen.rounded_rectangle((self._at(corner), self._at(other)), radius=radius * self.unit, fill=colour)


def sine(degrees: float) -> float:
    """Rounded, so that a machine's last bit moves no pixel."""
    return round(math.sin(math.radians(degrees)), 9)


def cosine(degrees: float) -> float:
    return round(math.cos(math.radians(degrees)), 9)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two others; `share` is that of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
