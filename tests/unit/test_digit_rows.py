"""The digits as series: the same rows, labels and splits as the images."""

import torch

from trainables.data import digit_rows, digits

SHA256 = "0c9477ba6fb71e2eeb89bc91a9c97335c2267dd4f6c91e3f8402bb261d57ce48"


def test_the_content_is_pinned() -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert digit_rows.load().sha256 == SHA256


def test_step_and_feature_are_row_and_column_of_the_image() -> None:
    series, images = digit_rows.load(), digits.load()
    assert (series.modality, series.levels, series.shape, series.classes) == ("series", 17, (8, 8), 10)
    for (_, rows), (_, pixels) in zip(series.splits(), images.splits(), strict=True):
        assert rows.labels is not None
        assert pixels.labels is not None
        assert torch.equal(rows.labels, pixels.labels)
        for step in range(8):
            assert torch.equal(rows.x[:, step], pixels.x[:, 0, step])
