"""What stands in scenes: each thing is drawn at a point where it touches the ground, unless said otherwise."""

from tenfold.systems.deepeval.scenes.canvas import INK, Canvas, Colour, Point, mixed

WOOD: Colour = (150, 104, 66)
DARK_WOOD: Colour = (112, 76, 50)
LEAF: Colour = (76, 148, 78)
STONE: Colour = (136, 136, 146)
IRON: Colour = (96, 100, 116)
RED: Colour = (214, 76, 72)
GOLD: Colour = (236, 184, 72)
BREAD: Colour = (214, 156, 88)
PAPER: Colour = (252, 248, 238)


def wall(canvas: Canvas, left: float, right: float, top: float, bottom: float) -> None:
    """Bricks in rows."""
    canvas.box((left, top), (right, bottom), (196, 120, 98))
    mortar: Colour = (226, 186, 166)
    row, height = 0, top
    while height < bottom:
        canvas.stroke([(left, height), (right, height)], 0.5, mortar)
        for x in _steps(left + (4 if row % 2 else 0), right, 8):
            canvas.stroke([(x, height), (x, min(bottom, height + 4.5))], 0.5, mortar)
        row, height = row + 1, height + 4.5


def _steps(start: float, end: float, width: float) -> list[float]:
    return [start + width * step for step in range(int((end - start) / width) + 1)]


def seedling(canvas: Canvas, at: Point, height: float = 11) -> None:
    """A sprout of two leaves on a small heap of earth."""
    x, y = at
    canvas.oval((x, y), 7, 2.6, (120, 84, 58))
    canvas.stroke([at, (x, y - height)], 1.2, LEAF)
    canvas.oval((x - 3.4, y - height), 3.6, 1.9, LEAF)
    canvas.oval((x + 3.4, y - height - 1.2), 3.6, 1.9, mixed(LEAF, (200, 230, 120), 0.35))


def tree(canvas: Canvas, at: Point, height: float = 52) -> None:
    x, y = at
    canvas.shape([(x - 4.2, y), (x - 2.6, y - height * 0.6), (x + 2.6, y - height * 0.6), (x + 4.2, y)], WOOD)
    canvas.stroke([(x, y - height * 0.42), (x + 7, y - height * 0.62)], 1.8, WOOD)
    for dx, dy, radius in ((-10, 0.66, 10), (10, 0.66, 10), (0, 0.82, 12.5), (-5, 0.58, 8), (6, 0.56, 8)):
        canvas.disc((x + dx, y - height * dy), radius, LEAF)
    for dx, dy, radius in ((-6, 0.78, 5), (5, 0.88, 5), (10, 0.68, 4)):
        canvas.disc((x + dx, y - height * dy), radius, mixed(LEAF, (190, 226, 120), 0.3))


def cage(canvas: Canvas, at: Point, *, is_open: bool, width: float = 34, height: float = 40) -> None:
    """Bars under a dome on a foot; an open door swings out at the right."""
    x, y = at
    half, top = width / 2, y - height
    canvas.box((x - half - 1, y - 3), (x + half + 1, y), GOLD, radius=1)
    for place in range(7):
        bar = x - half + place * width / 6
        if is_open and place == 5:
            continue
        canvas.stroke([(bar, y - 2), (bar, top + 6)], 0.8, IRON)
    canvas.arc((x, top + 6), half, 9, 180, 360, 1.0, IRON)
    canvas.stroke([(x - half, top + 6), (x + half, top + 6)], 0.9, IRON)
    canvas.arc((x, top - 4.5), 1.8, 1.8, 0, 360, 0.8, IRON)
    _open_door(canvas, x + half, y) if is_open else _lock(canvas, x + half * 0.66, y - height * 0.45)


def _open_door(canvas: Canvas, hinge: float, bottom: float) -> None:
    corners = [
        (hinge, bottom - 6),
        (hinge + 11, bottom - 2),
        (hinge + 11, bottom - 24),
        (hinge, bottom - 26),
        (hinge, bottom - 6),
    ]
    canvas.stroke(corners, 0.9, IRON)
    for step in (1, 2):
        x = hinge + 11 * step / 3
        canvas.stroke([(x, bottom - 6 + 4 * step / 3), (x, bottom - 26 + 2 * step / 3)], 0.7, IRON)


def _lock(canvas: Canvas, x: float, y: float) -> None:
    canvas.arc((x, y), 2.0, 2.4, 180, 360, 0.9, INK)
    canvas.box((x - 2.8, y), (x + 2.8, y + 5), GOLD, radius=0.8)
    canvas.disc((x, y + 2.2), 0.7, INK)


def bird(canvas: Canvas, at: Point, size: float = 6, colour: Colour = (240, 190, 60), facing: int = 1) -> None:
    """Sitting; `at` is where its feet are."""
    x, y = at
    for leg in (-0.15, 0.2):
        canvas.stroke([(x + leg * size, y), (x + leg * size, y - 0.4 * size)], 0.5, INK)
    tail = [
        (x - facing * 0.6 * size, y - 0.8 * size),
        (x - facing * 1.5 * size, y - 0.5 * size),
        (x - facing * 0.7 * size, y - 0.4 * size),
    ]
    canvas.shape(tail, mixed(colour, INK, 0.3))
    canvas.oval((x, y - 0.8 * size), 0.85 * size, 0.55 * size, colour)
    canvas.disc((x + facing * 0.6 * size, y - 1.35 * size), 0.45 * size, colour)
    beak = x + facing * 1.0 * size
    canvas.shape(
        [(beak, y - 1.5 * size), (beak + facing * 0.42 * size, y - 1.3 * size), (beak, y - 1.15 * size)], (230, 120, 50)
    )
    canvas.disc((x + facing * 0.68 * size, y - 1.45 * size), 0.09 * size + 0.1, INK)
    canvas.oval((x - facing * 0.15 * size, y - 0.8 * size), 0.5 * size, 0.28 * size, mixed(colour, INK, 0.2))


def boat(canvas: Canvas, at: Point, width: float = 56) -> None:
    """The hull, with its deck at the given height."""
    x, y = at
    half = width / 2
    canvas.shape([(x - half, y), (x + half, y), (x + half * 0.7, y + 11), (x - half * 0.7, y + 11)], WOOD)
    canvas.stroke([(x - half, y), (x + half, y)], 1.6, DARK_WOOD)
    canvas.stroke([(x - half * 0.86, y + 5), (x + half * 0.86, y + 5)], 0.7, DARK_WOOD)


def waves(canvas: Canvas, top: float, *, high: bool) -> None:
    """The sea down to the lower edge; high waves have white crests."""
    deep: Colour = (38, 84, 122) if high else (84, 160, 206)
    canvas.box((0, top), (100, 100), deep)
    for row in range(5):
        y = top + row * 7
        shade = mixed(deep, (255, 255, 255), 0.10 + 0.05 * (row % 2))
        for place in range(-1, 9):
            x = place * 13 + (6 if row % 2 else 0)
            if high:
                canvas.shape([(x - 8, y + 4), (x + 1, y - 6), (x + 8, y + 4)], shade)
                canvas.stroke([(x - 1, y - 4), (x + 1, y - 6), (x + 3.4, y - 3)], 0.9, (240, 246, 250))
            else:
                canvas.arc((x, y), 5, 1.2, 200, 340, 0.6, shade)


def bench(canvas: Canvas, at: Point, width: float = 46) -> None:
    """Seat at `at`, in the middle of its front edge; back rest above, legs below."""
    x, y = at
    half = width / 2
    for plank in (-13, -9):
        canvas.box((x - half, y + plank), (x + half, y + plank + 2.6), WOOD, radius=0.8)
    for post in (-half + 4, half - 4):
        canvas.stroke([(x + post, y - 13), (x + post, y + 10)], 1.6, IRON)
    canvas.box((x - half, y - 1.4), (x + half, y + 1.6), mixed(WOOD, INK, 0.12), radius=0.8)


def rock(canvas: Canvas, at: Point, radius: float) -> None:
    """A boulder that rests on `at`."""
    x, y = at
    outline = [
        (0.0, 1.0),
        (0.62, 0.86),
        (0.98, 0.30),
        (0.86, -0.46),
        (0.34, -0.95),
        (-0.38, -0.92),
        (-0.90, -0.42),
        (-0.96, 0.34),
        (-0.58, 0.88),
    ]
    canvas.shape([(x + dx * radius, y - radius + dy * radius) for dx, dy in outline], STONE)
    light = [(-0.3, -0.8), (0.3, -0.8), (0.1, -0.2), (-0.55, -0.15)]
    canvas.shape([(x + dx * radius, y - radius + dy * radius) for dx, dy in light], mixed(STONE, PAPER, 0.35))
    canvas.stroke([(x + 0.45 * radius, y - 1.1 * radius), (x + 0.3 * radius, y - 0.5 * radius)], 0.6, mixed(STONE, INK, 0.5))


def snowman(canvas: Canvas, at: Point, *, melting: bool, scarf: Colour | None) -> None:
    """Two balls of snow with hat and carrot; a melting one is lower and stands in a puddle."""
    x, y = at
    snow: Colour = (252, 253, 255)
    shade = mixed(snow, (120, 150, 190), 0.30)
    squash = 0.74 if melting else 1.0
    if melting:
        canvas.oval((x, y), 20, 4, (158, 206, 236))
        for drop in (-13, 12):
            canvas.stroke([(x + drop, y - 13), (x + drop, y - 9)], 1.0, (158, 206, 236))
    canvas.oval((x, y - 12 * squash), 14, 13 * squash, shade)
    canvas.oval((x - 0.8, y - 12.4 * squash), 13.2, 12.4 * squash, snow)
    head = y - 31 * squash
    canvas.oval((x, head), 9, 9 * squash, shade)
    canvas.oval((x - 0.6, head - 0.4), 8.4, 8.4 * squash, snow)
    if scarf is not None:
        canvas.box((x - 9, head + 6.4 * squash), (x + 9, head + 6.4 * squash + 4), scarf, radius=2)
        canvas.box((x + 3, head + 7 * squash), (x + 7, head + 7 * squash + 12), mixed(scarf, INK, 0.12), radius=1.2)
    _snow_face(canvas, (x, head), sad=melting)
    canvas.box((x - 9, head - 8.2 * squash), (x + 9, head - 6.4 * squash), INK, radius=0.6)
    canvas.box((x - 5.6, head - 17 * squash), (x + 5.6, head - 7 * squash), INK, radius=0.8)


def _snow_face(canvas: Canvas, centre: Point, *, sad: bool) -> None:
    x, y = centre
    for eye in (-2.8, 2.8):
        canvas.disc((x + eye, y - 1.6), 0.9, INK)
    canvas.shape([(x, y - 0.4), (x + 7, y + 1.0), (x, y + 1.6)], (240, 140, 50))
    canvas.arc((x, y + (5.6 if sad else 2.4)), 3.2, 2.2, *((205, 335) if sad else (25, 155)), 0.7)


def table(canvas: Canvas, at: Point, width: float = 52) -> None:
    """The top at `at`, in the middle; two legs down to the floor."""
    x, y = at
    half = width / 2
    for leg in (-half + 5, half - 5):
        canvas.stroke([(x + leg, y), (x + leg, y + 18)], 2.2, DARK_WOOD)
    canvas.box((x - half, y - 1.6), (x + half, y + 1.8), WOOD, radius=1)


def loaf(canvas: Canvas, at: Point, width: float = 13) -> None:
    x, y = at
    canvas.oval((x, y - width * 0.26), width / 2, width * 0.27, mixed(BREAD, INK, 0.15))
    canvas.oval((x, y - width * 0.30), width / 2 - 0.4, width * 0.24, BREAD)
    for cut in (-0.2, 0.02, 0.24):
        canvas.stroke([(x + cut * width, y - width * 0.44), (x + (cut - 0.08) * width, y - width * 0.24)], 0.6, PAPER)


def half_loaf(canvas: Canvas, at: Point, *, cut_side: int, width: float = 9) -> None:
    """A half whose white cut faces right (1) or left (-1)."""
    x, y = at
    canvas.oval((x, y - width * 0.30), width / 2, width * 0.32, BREAD)
    canvas.oval((x + cut_side * width * 0.38, y - width * 0.30), width * 0.15, width * 0.31, PAPER)


def tear(canvas: Canvas, at: Point) -> None:
    x, y = at
    canvas.shape([(x - 0.8, y), (x, y - 2.0), (x + 0.8, y)], (96, 170, 230))
    canvas.disc((x, y), 0.85, (96, 170, 230))
