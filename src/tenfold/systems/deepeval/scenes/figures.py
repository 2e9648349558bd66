"""People: a skeleton of joints for each posture, drawn as thick round strokes with a head and a face.

A posture gives joints in units of the person's height, seen from the point between the feet, looking to the right.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

from tenfold.systems.deepeval.scenes.canvas import INK, Canvas, Colour, Point, mixed

Posture = Literal["standing", "walking", "running", "sitting", "squatting", "lying", "bowed", "climbing"]
Mood = Literal["glad", "sad", "calm", "asleep"]
Arms = Literal["down", "up", "forward", "out", "hips"]
Joints = dict[str, Point]

POSTURES: dict[Posture, Joints] = {
    "standing": {
        "head": (0.0, -0.81), "neck": (0.0, -0.60), "hip": (0.0, -0.36),
        "knee": (0.07, -0.18), "foot": (0.08, 0.0), "knee2": (-0.07, -0.18), "foot2": (-0.08, 0.0),
    },
    "walking": {
        "head": (0.03, -0.80), "neck": (0.02, -0.59), "hip": (0.0, -0.36),
        "knee": (0.13, -0.20), "foot": (0.18, 0.0), "knee2": (-0.05, -0.18), "foot2": (-0.18, -0.02),
    },
    "running": {
        "head": (0.20, -0.78), "neck": (0.11, -0.58), "hip": (0.0, -0.37),
        "knee": (0.20, -0.30), "foot": (0.22, -0.06), "knee2": (-0.12, -0.22), "foot2": (-0.34, -0.20),
    },
    "sitting": {
        "head": (-0.08, -0.74), "neck": (-0.10, -0.53), "hip": (-0.12, -0.29),
        "knee": (0.14, -0.28), "foot": (0.16, 0.0), "knee2": (0.10, -0.27), "foot2": (0.10, 0.0),
    },
    "squatting": {
        "head": (-0.06, -0.56), "neck": (-0.10, -0.35), "hip": (-0.12, -0.11),
        "knee": (0.12, -0.26), "foot": (0.24, 0.0), "knee2": (0.05, -0.24), "foot2": (0.16, 0.0),
    },
    "lying": {
        "head": (-0.44, -0.15), "neck": (-0.25, -0.10), "hip": (-0.01, -0.10),
        "knee": (0.18, -0.22), "foot": (0.34, -0.05), "knee2": (0.20, -0.07), "foot2": (0.42, -0.05),
    },
    "bowed": {
        "head": (0.15, -0.70), "neck": (0.04, -0.56), "hip": (0.0, -0.35),
        "knee": (0.05, -0.18), "foot": (0.07, 0.0), "knee2": (-0.06, -0.18), "foot2": (-0.08, 0.0),
    },
    "climbing": {
        "head": (0.0, -0.82), "neck": (0.0, -0.60), "hip": (-0.03, -0.35),
        "knee": (0.13, -0.28), "foot": (0.10, -0.10), "knee2": (-0.05, -0.17), "foot2": (0.0, 0.02),
    },
}  # fmt: skip

HANDS: dict[Arms, tuple[Point, Point]] = {
    "down": ((0.13, 0.24), (-0.13, 0.24)),
    "up": ((0.20, -0.30), (-0.20, -0.30)),
    "forward": ((0.30, 0.02), (0.27, 0.08)),
    "out": ((0.29, 0.02), (-0.29, 0.02)),
    "hips": ((0.17, 0.14), (-0.17, 0.14)),
}
"""Where the two hands are, seen from the neck, in units of the height."""

SHIRTS: tuple[Colour, ...] = (
    (226, 112, 86),
    (78, 140, 196),
    (104, 168, 112),
    (206, 152, 62),
    (156, 110, 176),
    (66, 160, 160),
)
SKIN: tuple[Colour, ...] = ((244, 205, 172), (214, 164, 124), (168, 116, 82), (142, 96, 68))
HAIR: tuple[Colour, ...] = ((190, 138, 70), (122, 78, 44), (60, 42, 38), (38, 32, 36))


@dataclass(frozen=True)
class Person:
    """Someone to draw: `at` is the point between the feet, `facing` is 1 for right and -1 for left."""

    at: Point
    height: float
    shirt: Colour
    posture: Posture = "standing"
    arms: Arms = "down"
    facing: int = 1
    mood: Mood = "calm"
    look: int = 0
    """Which skin and hair."""
    hand: Point | None = None
    """Where the near hand is, on the sheet; overrides `arms`."""
    hand2: Point | None = None
    gaze: float = 0.0
    """Where the face is turned: -1 up, 1 down."""

    def joint(self, name: str) -> Point:
        """A joint's place on the sheet."""
        x, y = POSTURES[self.posture][name]
        return self.at[0] + self.facing * x * self.height, self.at[1] + y * self.height

    def _hand(self, which: int, given: Point | None) -> Point:
        if given is not None:
            return given
        (x, y), neck = HANDS[self.arms][which], self.joint("neck")
        return neck[0] + self.facing * x * self.height, neck[1] + y * self.height

    def draw(self, canvas: Canvas) -> None:
        """Far limbs first, then the body, the head, and the near arm."""
        trousers = mixed(self.shirt, (40, 44, 70), 0.75)
        self._limb(canvas, ("hip", "knee2", "foot2"), mixed(trousers, INK, 0.25))
        self._arm(canvas, self._hand(1, self.hand2), mixed(self.shirt, INK, 0.25))
        self._limb(canvas, ("hip", "knee", "foot"), trousers)
        canvas.stroke([self.joint("neck"), self.joint("hip")], 0.20 * self.height, self.shirt)
        self._head(canvas)
        self._arm(canvas, self._hand(0, self.hand), mixed(self.shirt, INK, 0.12))

    def _limb(self, canvas: Canvas, names: tuple[str, str, str], colour: Colour) -> None:
        canvas.stroke([self.joint(name) for name in names], 0.095 * self.height, colour)
        x, y = self.joint(names[-1])
        canvas.oval((x + self.facing * 0.03 * self.height, y), 0.075 * self.height, 0.045 * self.height, INK)

    def _arm(self, canvas: Canvas, hand: Point, colour: Colour) -> None:
        shoulder = self.joint("neck")
        canvas.stroke([(shoulder[0], shoulder[1] + 0.02 * self.height), hand], 0.075 * self.height, colour)
        canvas.disc(hand, 0.048 * self.height, SKIN[self.look % len(SKIN)])

    def _head(self, canvas: Canvas) -> None:
        (x, y), radius = self.joint("head"), 0.165 * self.height
        canvas.disc((x, y), radius * 1.07, HAIR[self.look % len(HAIR)])
        canvas.oval(
            (x + self.facing * 0.14 * radius, y + (0.16 + 0.12 * self.gaze) * radius),
            0.90 * radius,
            0.88 * radius,
            SKIN[self.look % len(SKIN)],
        )
        self._face(canvas, (x + self.facing * 0.26 * radius, y + (0.12 + 0.28 * self.gaze) * radius), radius)

    def _face(self, canvas: Canvas, centre: Point, radius: float) -> None:
        x, y = centre
        for eye in (x - 0.32 * radius, x + 0.32 * radius):
            if self.mood == "asleep":
                canvas.arc((eye, y), 0.14 * radius, 0.10 * radius, 0, 180, 0.08 * radius)
            else:
                canvas.oval((eye, y), 0.09 * radius, 0.13 * radius, INK)
        if self.mood == "glad":
            canvas.arc((x, y + 0.28 * radius), 0.30 * radius, 0.24 * radius, 15, 165, 0.10 * radius)
        elif self.mood == "sad":
            canvas.arc((x, y + 0.60 * radius), 0.26 * radius, 0.20 * radius, 200, 340, 0.10 * radius)
        else:
            canvas.stroke([(x - 0.16 * radius, y + 0.42 * radius), (x + 0.16 * radius, y + 0.42 * radius)], 0.09 * radius)


def chosen(random: Random) -> tuple[Colour, Colour, int]:
    """Two shirts that differ, and a look."""
    first, second = random.sample(SHIRTS, 2)
    return first, second, random.randrange(4)
