"""Views of a photograph whose embeddings are averaged (riron1206's 5th place of GUIE 2022, arXiv 2210.09495)."""

from typing import Literal, TypeAlias

import cv2

from noseprint.data.transforms import A, Transform

View: TypeAlias = Literal["plain", "mirrored", "centre", "padded"]
KEPT = 0.9
"""The share of each side that the view "centre" keeps."""
PADDING = (124, 116, 104)
"""Colour of the margins of the view "padded": ImageNet's mean, which networks see as almost 0."""


def view_transform(view: View, size: int) -> Transform:
    """The transform to a view of `size` x `size` pixels.

    plain: the whole photograph, without keeping its proportions. mirrored: the same, left and right exchanged. centre:
    the middle, KEPT of each side. padded: the whole photograph in its proportions, with margins.
    """
    whole = A.Resize(size, size)
    if view == "mirrored":
        return A.Compose([whole, A.HorizontalFlip(p=1)])
    if view == "centre":
        larger = round(size / KEPT)
        return A.Compose([A.Resize(larger, larger), A.CenterCrop(size, size)])
    if view == "padded":
        pad = A.PadIfNeeded(size, size, border_mode=cv2.BORDER_CONSTANT, fill=PADDING)
        return A.Compose([A.LongestMaxSize(size), pad])
    return whole
