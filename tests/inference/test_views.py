import cv2
import numpy as np
import pytest
import torch

from noseprint.data.transforms import A, apply_transform
from noseprint.data.views import PADDING, view_transform
from noseprint.errors import NoseprintError
from noseprint.inference.views import embed_views
from noseprint.models.embed import embed_images
from noseprint.models.projection_net import ProjectionNet

CPU = torch.device("cpu")


@pytest.fixture
def photograph():
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8), (60, 30))


def test_each_view_shows_what_its_name_says(photograph):
    view = {
        name: apply_transform(view_transform(name, 36), photograph, (0,))
        for name in ("plain", "mirrored", "centre", "padded")
    }
    assert {image.shape for image in view.values()} == {(36, 36, 3)}
    np.testing.assert_array_equal(view["plain"], cv2.resize(photograph, (36, 36)))
    np.testing.assert_array_equal(view["mirrored"], view["plain"][:, ::-1])
    np.testing.assert_array_equal(view["centre"], cv2.resize(photograph, (40, 40))[2:38, 2:38])
    np.testing.assert_array_equal(view["padded"][9:27], cv2.resize(photograph, (36, 18)))
    assert (view["padded"][[0, 8, 27, 35]] == PADDING).all()


def test_the_embedding_is_the_mean_of_the_views_at_length_1(photograph, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, (photograph, photograph[::-1]), strict=True):
        cv2.imwrite(str(path), image)
    torch.manual_seed(0)
    network = ProjectionNet("test_efficientnet.r160_in1k", dim=8, image_size=32, pretrained=False)
    plain, mirrored = (
        embed_images(network, paths, transform=transform, device=CPU, workers=0)
        for transform in (A.Resize(32, 32), A.Compose([A.Resize(32, 32), A.HorizontalFlip(p=1)]))
    )
    got = embed_views(network, paths, views=("plain", "mirrored"), device=CPU, workers=0)
    mean = (plain + mirrored) / 2
    np.testing.assert_allclose(got, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(got, plain, atol=1e-4)
    for views in ((), ("plain", "plain")):
        with pytest.raises(NoseprintError, match="name one or more, each once"):
            embed_views(network, paths, views=views, device=CPU, workers=0)
