"""A folder of the user's images: what becomes of sizes, modes, folders and copies, and what is said of bad files."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from trainables.data import image_folder
from trainables.data._data import Data
from trainables.data._images import file_within, read_picture


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def fill(folder: Path, count: int = 24, *, shape: tuple[int, ...] = (8, 8), first: int = 0) -> Path:
    """Write so many PNG files of noise, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(noise(number, *shape)).save(folder / f"{number:03d}.png")
    return folder


def rows(data: Data) -> NDArray[np.uint8]:
    return np.concatenate([split.x.numpy() for _, split in data.splits()])


def contents(images: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    return sorted(np.ascontiguousarray(image).tobytes() for image in images)


def test_grey_images_of_one_size_come_out_pixel_by_pixel(tmp_path: Path) -> None:
    data = image_folder.load(path=str(fill(tmp_path)))
    assert (data.modality, data.levels, data.shape, data.classes) == ("images", 256, (1, 8, 8), 0)
    assert contents(rows(data)) == contents(noise(number, 8, 8) for number in range(24))
    assert "all images have 8 x 8 pixels" in data.notes
    assert "all images are grey: one channel" in data.notes


def test_colors_come_out_channel_by_channel_and_one_colored_image_makes_all_colored(tmp_path: Path) -> None:
    fill(tmp_path)
    color = noise(99, 8, 8, 3)
    Image.fromarray(color).save(tmp_path / "color.png")
    data = image_folder.load(path=str(tmp_path))
    assert data.shape == (3, 8, 8)
    assert color.transpose(2, 0, 1).tobytes() in contents(rows(data))
    assert np.repeat(noise(0, 1, 8, 8), 3, axis=0).tobytes() in contents(rows(data))
    grey = image_folder.load(path=str(tmp_path), mode="L")
    assert grey.shape == (1, 8, 8)
    assert noise(0, 1, 8, 8).tobytes() in contents(rows(grey))


def test_the_middle_square_is_taken_and_antialiased(tmp_path: Path) -> None:
    # A checkerboard amid white margins: by its mean it is grey, by any single pixel black or white.
    board = np.full((64, 100), 255, dtype=np.uint8)
    board[:, 18:82] = 255 * (np.indices((64, 64)).sum(0) % 2)
    Image.fromarray(board).save(tmp_path / "wide.png")
    Image.fromarray(board.T.copy()).save(tmp_path / "high.png")
    for name in ("wide", "high"):
        pixels = read_picture(tmp_path / f"{name}.png", size=8).pixels
        assert pixels.shape == (8, 8, 3)
        assert np.abs(pixels[1:-1, 1:-1].astype(int) - 127).max() <= 3


@pytest.mark.parametrize(("sides", "expected"), [((20, 23, 90), 20), ((100, 200, 300), 32), ((3, 3, 3), 4)])
def test_the_default_size_is_the_median_shorter_side_within_bounds(
    tmp_path: Path, sides: tuple[int, ...], expected: int
) -> None:
    for part, side in enumerate(sides):
        fill(tmp_path, 8, shape=(side, side + 7), first=8 * part)
    data = image_folder.load(path=str(tmp_path))
    assert data.shape == (1, expected, expected)
    note = f"images of {sides[0] + 7} x {sides[0]}"
    assert any(note in said and f"resized to {expected} x {expected}" in said for said in data.notes)
    assert image_folder.load(path=str(tmp_path), size=12).shape == (1, 12, 12)


def test_an_image_stands_upright_as_its_exif_tag_says(tmp_path: Path) -> None:
    pixels = noise(0, 8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png").pixels
    assert (found[..., 0] == np.rot90(pixels, -1)).all()


def test_other_kinds_of_pixels_are_brought_to_grey_or_rgb_and_said(tmp_path: Path) -> None:
    fill(tmp_path)
    levels = noise(50, 8, 8)
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    see_through = np.dstack([noise(51, 8, 8, 3), np.zeros((8, 8), np.uint8)])
    Image.fromarray(see_through, "RGBA").save(tmp_path / "clear.png")
    few = Image.fromarray(noise(52, 8, 8, 3)).quantize(16)
    few.save(tmp_path / "palette.gif")
    Image.fromarray(noise(53, 8, 8, 4), "CMYK").save(tmp_path / "print.tif")
    frames = [Image.fromarray(noise(number, 8, 8)) for number in (54, 55)]
    frames[0].save(tmp_path / "film.tif", save_all=True, append_images=frames[1:])
    data = image_folder.load(path=str(tmp_path))
    found = contents(rows(data))
    assert data.shape == (3, 8, 8)
    assert np.repeat(levels[None], 3, axis=0).tobytes() in found
    assert np.full((3, 8, 8), 255, np.uint8).tobytes() in found
    assert np.asarray(few.convert("RGB")).transpose(2, 0, 1).tobytes() in found
    assert np.repeat(noise(54, 8, 8)[None], 3, axis=0).tobytes() in found
    for note in (
        "16 bits reduced to 8, 65535 as 255: 1 of 29 images",
        "transparent, laid on white: 1 of 29 images",
        "CMYK turned into RGB without a color profile: 1 of 29 images",
        "only the first of several frames is taken: 1 of 29 images",
    ):
        assert note in data.notes


def test_folders_are_classes_and_each_split_has_all(tmp_path: Path) -> None:
    for part, name in enumerate(("10", "9", "cat")):
        fill(tmp_path / name / "deeper", 20, first=20 * part)
    data = image_folder.load(path=str(tmp_path))
    assert data.classes == 3
    assert "classes: 0 is 9, 1 is 10, 2 is cat" in data.notes
    names = {noise(number, 8, 8).tobytes(): (1, 0, 2)[number // 20] for number in range(60)}
    for _, split in data.splits():
        assert split.labels is not None
        assert [names[row.numpy().tobytes()] for row in split.x] == split.labels.tolist()
        assert set(split.labels.tolist()) == {0, 1, 2}
    assert image_folder.load(path=str(tmp_path), labels="none").classes == 0


def test_files_beside_folders_have_no_class(tmp_path: Path) -> None:
    fill(tmp_path / "a", 12)
    fill(tmp_path / "b", 12, first=12)
    fill(tmp_path, 3, first=24)
    data = image_folder.load(path=str(tmp_path))
    assert data.classes == 0
    assert "no classes: not every file lies in one of two or more sub-folders" in data.notes
    with pytest.raises(ValueError, match=re.escape("24 of 27 files lie in 2 sub-folders: sort them")):
        image_folder.load(path=str(tmp_path), labels="folders")


def test_folders_by_the_names_of_splits_are_splits(tmp_path: Path) -> None:
    for part, (name, count) in enumerate((("train", 40), ("test", 6))):
        for label in (0, 1):
            fill(tmp_path / name / "ab"[label], count, first=100 * part + 50 * label)
    data = image_folder.load(path=str(tmp_path), held_out=0.25)
    numbers = {noise(number, 8, 8).tobytes(): number for number in (*range(90), *range(100, 106), *range(150, 156))}
    assert sorted(numbers[row.numpy().tobytes()] for row in data.test.x) == [*range(100, 106), *range(150, 156)]
    # What is not there is held out of training, and nothing is lost.
    assert len(data.validation) == 20
    assert len(data.train) == 60
    assert data.classes == 2
    assert "the folders test, train are taken as splits" in data.notes


def test_a_class_that_a_split_lacks_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 20)
    fill(tmp_path / "train" / "b", 20, first=20)
    fill(tmp_path / "test" / "a", 5, first=40)
    with pytest.raises(ValueError, match="every split must have rows of each class, and test has none of 'b'"):
        image_folder.load(path=str(tmp_path))


def test_copies_count_once_and_are_in_one_split(tmp_path: Path) -> None:
    fill(tmp_path)
    for number in range(24):
        Image.fromarray(noise(number, 8, 8)).convert("RGB").save(tmp_path / f"copy{number}.bmp")
    data = image_folder.load(path=str(tmp_path))
    assert len(rows(data)) == len(set(contents(rows(data)))) == 24
    assert "removed 24 rows that equal another one" in data.notes


def test_the_order_in_which_files_were_written_does_not_matter(tmp_path: Path) -> None:
    fill(tmp_path / "up")
    for number in reversed(range(24)):
        fill(tmp_path / "down", 1, first=number)
    up, down = (image_folder.load(path=str(tmp_path / name), held_out=0.2) for name in ("up", "down"))
    assert up.sha256 == down.sha256
    assert [len(split) for _, split in up.splits()] == [14, 5, 5]
    assert image_folder.load(path=str(tmp_path / "up"), held_out=0.2, seed=1).sha256 != up.sha256


def empty(file: Path) -> None:
    file.write_bytes(b"")


def words(file: Path) -> None:
    file.write_text("no image")


def cut_off(file: Path) -> None:
    Image.fromarray(noise(0, 64, 64)).save(file, format="JPEG")
    file.write_bytes(file.read_bytes()[:900])


def bad_chunk(file: Path) -> None:
    Image.fromarray(noise(0, 64, 64)).save(file, format="PNG")
    content = file.read_bytes()
    file.write_bytes(content[:60] + bytes(40) + content[100:])


def real_numbers(file: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(file, format="TIFF")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (empty, "it is empty or no image that Pillow reads: save it anew, as PNG or JPEG"),
        (words, "it is empty or no image that Pillow reads: save it anew, as PNG or JPEG"),
        (cut_off, "its content is broken (image file is truncated"),
        (bad_chunk, "its content is broken ("),
        (real_numbers, "its numbers reach from 0.0 to 1.0, and those of an image are whole"),
    ],
)
def test_a_broken_file_is_named_with_the_reason_or_left_out_and_told_of(
    tmp_path: Path, write: Callable[[Path], None], reason: str
) -> None:
    whole = image_folder.load(path=str(fill(tmp_path)))
    broken = tmp_path / "broken.png"
    write(broken)
    with pytest.raises(ValueError, match=r"^all must be readable, and 1 of 25 are not: ") as told:
        image_folder.load(path=str(tmp_path))
    assert f"{broken}: {reason}" in str(told.value)
    assert str(told.value).endswith("leave them out with skip_broken: true")
    rest = image_folder.load(path=str(tmp_path), skip_broken=True)
    assert rest.sha256 == whole.sha256
    assert any(note.startswith(f"left out {broken}: {reason}") for note in rest.notes)


def test_an_image_that_claims_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    for limit in (63, 31):  # of these Pillow only warns, and those it refuses itself
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=re.escape(f"000.png: it has more than {limit} pixels: save it smaller")):
            image_folder.load(path=str(tmp_path))


def test_bad_requests_get_one_message_each(tmp_path: Path) -> None:
    three = str(fill(tmp_path / "three", 3))
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "classes" / "a", 20)
    fill(tmp_path / "classes" / "rare", 2, first=20)
    for options, message in (
        ({"path": str(tmp_path / "gone")}, "gone does not exist in"),
        ({"path": str(tmp_path / "three" / "000.png")}, "000.png is a file: give a folder"),
        ({"path": str(tmp_path / "empty")}, "empty is empty: give another folder"),
        ({"path": three}, "there must be at least 20 rows, and there are 3: give more data"),
        (
            {"path": str(tmp_path / "classes")},
            "at least 3 rows of the class 'rare', one for each split, and there are 2",
        ),
        ({"path": three, "size": 2}, "a whole number of at least 4 pixels, and it is 2: correct it"),
        ({"path": three, "size": "32"}, "a whole number of at least 4 pixels, and it is '32': correct it"),
        ({"path": three, "mode": "grey"}, "L (grey) or RGB, and it is 'grey': choose one"),
        ({"path": three, "labels": "names"}, "labels are auto, folders or none, and they are 'names': choose one"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            image_folder.load(**options)  # type: ignore[arg-type]


def test_a_jpeg_keeps_its_colors_when_it_is_decoded_smaller(tmp_path: Path) -> None:
    # Left half red, right half blue, large enough that the decoder leaves pixels out.
    halves = np.zeros((640, 640, 3), np.uint8)
    halves[:, :320, 0] = halves[:, 320:, 2] = 220
    Image.fromarray(halves).save(tmp_path / "photo.jpg", quality=95)
    pixels = torch.from_numpy(read_picture(tmp_path / "photo.jpg", size=16).pixels).long()
    assert (pixels[:, :7] - torch.tensor([220, 0, 0])).abs().max() <= 6
    assert (pixels[:, 9:] - torch.tensor([0, 0, 220])).abs().max() <= 6


def test_what_other_programs_draw_is_no_image(tmp_path: Path) -> None:
    fill(tmp_path)
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "drawn.png").write_text(script)
    with pytest.raises(ValueError, match=r"drawn\.png: it is empty or no image that Pillow reads"):
        image_folder.load(path=str(tmp_path))


def test_a_phones_picture_with_a_preview_is_a_jpeg(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(number, 64, 64, 3)) for number in (0, 1)]
    frames[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "phone.jpg").lost == ()


def test_the_path_of_a_picture_in_a_table_stays_in_the_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "own", 1)
    for path in ("000.png", "./000.png", "deeper/../000.png", str(folder / "000.png")):
        assert file_within(folder, path) == folder / "000.png"
    for path in ("../secret.png", "a/../../secret.png", str(tmp_path / "secret.png"), str(tmp_path / "own2.png")):
        with pytest.raises(ValueError, match=r"its path must lead to a file in .*: copy the image there"):
            file_within(folder, path)


def test_images_of_12_bits_in_16_are_refused_and_the_largest_number_is_told(tmp_path: Path) -> None:
    for number in range(24):
        pixels = np.random.RandomState(number).randint(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"the largest number in these is 40\d\d, which is nearly black: save them"):
        image_folder.load(path=str(tmp_path))
    pixels[0, 0] = 50_000
    Image.fromarray(pixels).save(tmp_path / "0.png")
    data = image_folder.load(path=str(tmp_path))
    assert "of the images with 16 bits, the largest number is 50000" in data.notes


def copied(source: Path, folder: Path, numbers: Iterable[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"copy{number:03d}.png").write_bytes((source / f"{number:03d}.png").read_bytes())


def test_of_copies_across_the_users_splits_those_to_train_on_stay(tmp_path: Path) -> None:
    train = fill(tmp_path / "train", 40)
    fill(tmp_path / "test", 10, first=100)
    copied(train, tmp_path / "test", range(15))
    copied(train, tmp_path / "val", range(15, 20))
    fill(tmp_path / "val", 10, first=200)
    data = image_folder.load(path=str(tmp_path))
    assert [len(split) for _, split in data.splits()] == [40, 10, 10]
    note = next(note for note in data.notes if note.startswith("copies across splits that were removed: "))
    assert note.count("test/copy0") == 5
    assert "test/copy000.png of train/000.png" in note
    assert note.endswith(", and 15 more")


def test_where_a_split_holds_nothing_but_copies_it_is_held_out_anew_and_told(tmp_path: Path) -> None:
    train = fill(tmp_path / "train", 40)
    copied(train, tmp_path / "test", range(40))
    data = image_folder.load(path=str(tmp_path), held_out=0.25)
    assert [len(split) for _, split in data.splits()] == [20, 10, 10]
    assert "test held nothing else, and is held out of train instead" in data.notes


def test_equal_images_under_two_classes_are_told(tmp_path: Path) -> None:
    cats = fill(tmp_path / "cats", 24)
    fill(tmp_path / "dogs", 24, first=24)
    copied(cats, tmp_path / "dogs", [3])
    data = image_folder.load(path=str(tmp_path))
    assert "copies of another class that were removed: dogs/copy003.png of cats/003.png" in data.notes


@pytest.mark.parametrize(
    ("folders", "splits", "note"),
    [
        (("training_set", "test_set"), True, "the folders test_set, training_set are taken as splits"),
        (("Train-Images", "val_images"), True, "the folders Train-Images, val_images are taken as splits"),
        (("test", "val"), False, "the folders test, val are not taken as splits, since none is for training"),
        (("train", "bus"), False, "the folders train are not taken as splits, since 24 files lie elsewhere"),
    ],
)
def test_folders_named_like_splits_are_splits_or_told_of(
    tmp_path: Path, folders: tuple[str, str], splits: bool, note: str
) -> None:
    for part, name in enumerate(folders):
        fill(tmp_path / name, 24, first=100 * part)
    data = image_folder.load(path=str(tmp_path), held_out=0.25)
    assert note in data.notes
    assert data.classes == (2 if "bus" in folders else 0)
    first = {noise(number, 8, 8).tobytes() for number in range(24)}
    assert ({row.numpy().tobytes() for row in data.train.x} <= first) == splits
    if folders == ("test", "val"):
        assert image_folder.load(path=str(tmp_path), labels="folders").classes == 2
