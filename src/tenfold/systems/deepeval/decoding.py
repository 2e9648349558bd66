"""From the bytes of a picture file to plain RGB pixels, always in the same way, and back to PNG.

Of an animation the first frame counts; the camera's turn (EXIF) is applied; transparency is laid on white. What is no
picture, too small or too large has a status instead, and the run goes on.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import PIL.Image
from PIL import ImageOps, UnidentifiedImageError

from tenfold.llm.chat import Image

Status = Literal["ok", "gone", "changed", "not_image", "too_small", "timeout", "blocked"]
LEAST_SIDE = 32
MOST_PIXELS = 40_000_000


class PictureError(Exception):
    """A picture that cannot be used: its status, and why."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


@dataclass(frozen=True)
class Facts:
    """What a picture file says about itself."""

    mime: str
    width: int
    height: int


def inspect(data: bytes) -> Facts:
    """Type and size of a picture, after decoding all of it.

    Raises:
        PictureError: not_image, too_small, or blocked (more pixels than we accept).
    """
    mime, pixels = _open(data)
    return Facts(mime, pixels.width, pixels.height)


def decode(data: bytes) -> PIL.Image.Image:
    """The picture as RGB pixels.

    Raises:
        PictureError: as for `inspect`.
    """
    return _open(data)[1]


def as_png(pixels: PIL.Image.Image) -> Image:
    """Pixels as a PNG that a message can carry; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", optimize=False, compress_level=6)
    return Image(buffer.getvalue(), "image/png")


def _open(data: bytes) -> tuple[str, PIL.Image.Image]:
    if not data:
        raise PictureError("not_image", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit and of odd metadata; our limit is checked below
            with PIL.Image.open(io.BytesIO(data)) as file:
                _check_size(file.width, file.height)
                mime = PIL.Image.MIME.get(file.format or "", "application/octet-stream")
                return mime, _rgb(ImageOps.exif_transpose(file))
    except PictureError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise PictureError("blocked", f"too many pixels: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as error:
        raise PictureError("not_image", f"cannot be read as a picture: {type(error).__name__}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise PictureError("blocked", f"{width} x {height} is more than {MOST_PIXELS:,} pixels")
    if min(width, height) < LEAST_SIDE:
        raise PictureError("too_small", f"{width} x {height}: the shorter side is below {LEAST_SIDE} pixels")


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    opaque = picture.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
