"""Pictures, from files or from bytes, as rows of 256 grey or RGB levels: what all loaders of images share.

The square amid a picture is taken and resized, by a bicubic filter that is widened where the picture shrinks, so that
fine lines do not alias (Parmar et al. 2022, arXiv 2104.11222, on what else becomes of a Frechet distance). What loses
something is counted and said. Floor: numpy; Pillow inside the functions. Axes: N pictures, Y down, X to the right,
C colors.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import _own
from ._data import Data

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# What these hold. Pillow goes by the content of a file, and of others it would run a program, such as Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
LEVELS = 256
# Images of 16 bits that use less than this part of them are of fewer bits, and would turn black.
LEAST_OF_16_BITS = 8192
# Where the user says no side: at most so many pixels, which a CPU trains on in minutes, and a multiple of what
# convolutions halve.
LARGEST_SIDE, SIDE_STEP = 32, 4
MODES = ("L", "RGB")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The square amid a picture, RGB levels [side, side, 3]. whole: its width and height. lost: what was given up.
    largest: of the numbers of 16 bits, where it was of these."""

    pixels: NDArray[np.uint8]
    whole: tuple[int, int]
    lost: tuple[str, ...]
    largest: int | None = None


def check_options(*, size: int | None, mode: str | None) -> None:
    """Raise `ValueError` for a side or a mode that no picture can be brought to."""
    if size is not None and (not isinstance(size, int) or size < SIDE_STEP):
        raise ValueError(f"the size of images is a whole number of at least {SIDE_STEP} pixels, and it is {size!r}: "
                         "correct it in the study")  # fmt: skip
    if mode not in (None, *MODES):
        raise ValueError(f"the mode of images is L (grey) or RGB, and it is {mode!r}: choose one, or leave it out")


def read_picture(source: Path | bytes, *, size: int | None = None) -> Picture:
    """The picture in this file, or in these bytes of one; upright as its EXIF tag says.

    size: of the side. Without one it is that of the picture, at most `LARGEST_SIDE`. Raises `ValueError` for what is no
    picture, is cut off, or claims more pixels than Pillow takes for honest.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of what Pillow warns of, such as a bad EXIF tag, only this one keeps a picture from being used.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as image:
                return _read(image, size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"it has more than {Image.MAX_IMAGE_PIXELS} pixels: save it smaller") from None
    except UnidentifiedImageError:
        raise ValueError("it is empty or no image that Pillow reads: save it anew, as PNG or JPEG") from None
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # a decoder that stumbles over broken bytes raises whatever its parser does
        raise ValueError(f"its content is broken ({error}): save or copy it anew") from None


def file_within(folder: Path, path: str) -> Path:
    """The file of a picture that a table names by its path; raises `ValueError` where it leads out of the folder."""
    # Links are the user's own: they are followed, and not looked into.
    file = Path(os.path.abspath(folder / path))
    if not any(file.is_relative_to(root) for root in (os.path.abspath(folder), os.path.realpath(folder))):
        raise ValueError(f"its path must lead to a file in {folder}, and it is {path}: copy the image there")
    return file


def as_data(
    pictures: Mapping[str, Picture],
    *,
    parts: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    size: int | None,
    mode: str | None,
    held_out: float | None,
    seed: int,
    name: str,
    source: str,
    notes: Sequence[str] = (),
) -> Data:
    """The data set of these pictures, by names that decide which split each comes into; equal ones count once, those to
    train on before others.

    parts, classes: the split and the class of each, by name. size, mode: as for `as_rows`. Raises `ValueError` for too
    few pictures, or too few of a class.
    """
    x, said = as_rows(list(pictures.values()), size=size, mode=mode)
    names = list(pictures)
    kept, copies = _own.originals(x, names=names, parts=parts, classes=classes)
    places, labels, named = _own.divided(
        [names[place] for place in kept],
        parts=None if parts is None else [parts[place] for place in kept],
        classes=None if classes is None else [classes[place] for place in kept],
        share=held_out,
        seed=seed,
    )
    return Data.of(
        _own.as_splits(x[kept], labels, places),
        name=name,
        modality="images",
        levels=LEVELS,
        value_range=(0.0, LEVELS - 1.0),
        license=_own.LICENSE,
        source=source,
        notes=[*said, *named, *copies, *notes],
    )


def as_rows(pictures: Sequence[Picture], *, size: int | None, mode: str | None) -> tuple[NDArray[np.uint8], list[str]]:
    """The pictures as rows [N, C, size, size], C = 1 for mode L and 3 for RGB, and notes on what was made of them.

    Without a size it is the median of theirs; without a mode they are grey if every pixel of theirs is.
    """
    from PIL import Image

    if size is None:
        side = int(np.median([len(picture.pixels) for picture in pictures]))
        size = max(SIDE_STEP, side // SIDE_STEP * SIDE_STEP)
    grey = all(bool((picture.pixels == picture.pixels[..., :1]).all()) for picture in pictures)
    notes = [_size_note(pictures, size)]
    if mode is None:
        mode = "L" if grey else "RGB"
        notes.append("all images are grey: one channel" if grey else "some images have colors: three channels; "
                     "mode: L makes them grey")  # fmt: skip
    largest = max((picture.largest for picture in pictures if picture.largest is not None), default=None)
    if largest is not None and largest < LEAST_OF_16_BITS:
        raise ValueError(f"white is 65535 in images of 16 bits, and the largest number in these is {largest}, which is "
                         "nearly black: save them with 8 bits, or all as one .npz for array_file")  # fmt: skip
    if largest is not None:
        notes.append(f"of the images with 16 bits, the largest number is {largest}")
    rows = []
    for picture in pictures:
        image = Image.fromarray(picture.pixels)
        if image.width != size:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        rows.append(np.asarray(image.convert(mode), dtype=np.uint8).reshape(size, size, -1).transpose(2, 0, 1))
    lost = Counter(what for picture in pictures for what in picture.lost)
    return np.stack(rows), [*notes, *(f"{what}: {count} of {len(rows)} images" for what, count in sorted(lost.items()))]


def _read(image: Image, size: int | None) -> Picture:
    from PIL import Image as Pillow
    from PIL import ImageOps

    whole = image.size
    side = min(*whole, LARGEST_SIDE) if size is None else size
    lost = []
    # A phone's picture carries its preview as a second frame.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        lost.append("only the first of several frames is taken")
    # Of a JPEG, decode no more than twice the pixels a side that are needed.
    image.draft(image.mode, (2 * side, 2 * side))
    upright = ImageOps.exif_transpose(image)
    colored, what, largest = _as_rgb(upright)
    shorter = min(colored.size)
    left, upper = (colored.width - shorter) // 2, (colored.height - shorter) // 2
    square = colored.resize((side, side), Pillow.Resampling.BICUBIC, box=(left, upper, left + shorter, upper + shorter))
    pixels = np.asarray(square, dtype=np.uint8).copy()
    return Picture(pixels=pixels, whole=whole, lost=(*lost, *what), largest=largest)


def _as_rgb(image: Image) -> tuple[Image, list[str], int | None]:
    """The image in RGB, what was lost on the way, and the largest number where these had 16 bits."""
    from PIL import Image as Pillow

    if image.has_transparency_data:
        layers = image.convert("RGBA")
        paper = Pillow.new("RGBA", image.size, "white")
        through = layers.getchannel("A").getextrema() != (255, 255)
        laid = Pillow.alpha_composite(paper, layers).convert("RGB")
        return laid, ["transparent, laid on white"] if through else [], None
    if image.mode == "F" or image.mode.startswith("I"):
        numbers_YX = np.asarray(image)
        least, most = numbers_YX.min(), numbers_YX.max()
        if image.mode == "F" or least < 0 or most > 65535:
            raise ValueError(f"its numbers reach from {least} to {most}, and those of an image are whole, 0 to 255 or "
                             "to 65535: save it with 8 bits a color, or all as one .npz for array_file")  # fmt: skip
        levels_YX = np.rint(numbers_YX / 257.0).astype(np.uint8)
        return Pillow.fromarray(levels_YX).convert("RGB"), ["16 bits reduced to 8, 65535 as 255"], int(most)
    return image.convert("RGB"), ["CMYK turned into RGB without a color profile"] * (image.mode == "CMYK"), None


def _size_note(pictures: Sequence[Picture], size: int) -> str:
    wholes = sorted({picture.whole for picture in pictures}, key=lambda whole: (min(whole), whole))
    if wholes == [(size, size)]:
        return f"all images have {size} x {size} pixels"
    first, last = ("{} x {}".format(*whole) for whole in (wholes[0], wholes[-1]))
    found = first if len(wholes) == 1 else f"{first} to {last}"
    return f"images of {found} pixels: the middle square of each is resized to {size} x {size}; size sets another"
