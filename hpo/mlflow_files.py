"""What runs carry as files: the sheets of a trial and what belongs to a study, each laid out in a folder and logged at
once, so that a run costs one call however many files it has.

Every name is fixed by what it holds, so a repeat replaces the file. Images by step have the names that MLflow's
`log_image` gives them, by which its page finds key and step; there they end in a number drawn at random, and here in
one that follows from the sheet, since a second number would be a second image.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hpo.home import Home
from hpo.mirror import VALUE_LENGTH, Batch, Sheet

IMAGE_KEY = "samples"  # what the images of a trial are called on MLflow's page
SMALL_PIXELS = 256  # the longer side of the small image that the page shows first, as MLflow makes it


def lay_out_trial(batch: Batch, home: Home, folder: Path) -> int:
    """Put what one batch brings to the run of its trial into `folder`; return how many sheets could not be taken."""
    refused = 0
    if len(batch.cause) > VALUE_LENGTH:
        (folder / "cause.txt").write_text(batch.cause, encoding="utf-8")
    for sheet in batch.sheets:
        try:
            _lay_out_sheet(sheet, home, folder)
        except (OSError, ValueError):  # all lie in the home too, so none is insisted on
            refused += 1
    return refused


def lay_out(files: Mapping[str, str | Path], folder: Path) -> None:
    """Put texts and copies of files into `folder`, under names that may have folders of their own.

    Raises ValueError for a name that leaves it.
    """
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"a file of a run lies inside its folder; {name!r} does not: give a relative name")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_text(content, encoding="utf-8")


def _lay_out_sheet(sheet: Sheet, home: Home, folder: Path) -> None:
    """An image goes below `images` under its step, in full and small; sound and text below `samples` as they are."""
    source = (home.path / sheet.name).resolve()
    if not source.is_relative_to(home.path):
        raise ValueError(f"a sample sheet lies in the home; {sheet.name!r} does not")
    if source.suffix == ".png":
        from PIL import Image

        with Image.open(source) as image:
            small = image.convert("RGB")
        small.thumbnail((SMALL_PIXELS, SMALL_PIXELS))
        images = folder / "images"
        images.mkdir(exist_ok=True)
        name = f"{IMAGE_KEY}+step+{sheet.step}+timestamp+{sheet.time_ms}+{_number(sheet)}"
        shutil.copyfile(source, images / f"{name}.png")
        small.save(images / f"{name}+compressed.webp")
    else:
        samples = folder / "samples"
        samples.mkdir(exist_ok=True)
        shutil.copyfile(source, samples / source.name)


def _number(sheet: Sheet) -> str:
    return hashlib.sha256(f"{sheet.name} {sheet.step}".encode()).hexdigest()[:32]
