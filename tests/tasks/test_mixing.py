"""Augmentations of a whole batch."""

import torch

from noseprint.tasks.mixing import GRID_HOLE, GRID_UNITS, grid_mask, mixing

IMAGES = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_grid_of_holes_has_the_mean_colour_of_each_image():
    images = IMAGES // 2 * 2 + 1  # odd: no pixel is like the even filling
    images[:, :, 0, 0] = 255
    torch.manual_seed(0)
    masked = grid_mask(images)
    holes = (masked != images).any(dim=1)
    for image, own, hole in zip(images, masked, holes, strict=True):
        assert torch.equal(hole, holes[0])  # of all images alike
        mean = image.float().mean(dim=(1, 2)).round().byte()
        assert (own[:, hole] == mean[:, None]).all()
    rows, columns = holes[0].any(dim=1), holes[0].any(dim=0)
    assert torch.equal(holes[0], rows[:, None] & columns)


def test_the_holes_take_their_share_on_average():
    shares, ramp = [], 9.0 * torch.arange(96).expand(1, 1, 96, 96)
    for seed in range(200):
        torch.manual_seed(seed)
        shares.append((grid_mask(ramp) != ramp).float().mean())
    assert abs(float(torch.stack(shares).mean()) - GRID_HOLE**2) < 0.03
    assert GRID_UNITS[0] < GRID_UNITS[1] <= 1


def test_gridmask_leaves_the_targets_and_follows_torchs_generator():
    mix = mixing("gridmask", probability=1.0, classes=3)
    target = torch.tensor([0, 2, 1, 1])
    torch.manual_seed(5)
    images, soft = mix(IMAGES, target)
    assert torch.equal(soft, torch.nn.functional.one_hot(target, 3).float())
    assert (images != IMAGES).any()
    torch.manual_seed(5)
    assert torch.equal(mix(IMAGES, target)[0], images)
    assert torch.equal(mixing("gridmask", probability=0.0, classes=3)(IMAGES, target)[0], IMAGES)
