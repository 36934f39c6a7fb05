"""What the options of a classifier's training refuse."""

import pytest

from noseprint.errors import NoseprintError

from .tiny_classifier import options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smoothing": 1.0}, "--smoothing 1.0"),
        ({"dropout": -0.1}, "--dropout -0.1"),
        ({"mixing_probability": 1.5}, "--mixing-probability 1.5"),
        ({"sgd_share": 1.0}, "--sgd-share 1.0"),
        ({"sgd_lr": 0.0}, "--sgd-lr 0.0"),
        ({"holdout": 0.6}, "--holdout 0.6"),
        ({"image_size": 8}, "--image-size 8"),
        ({"train_size": 5000}, "--train-size 5000"),
        ({"epochs": 0}, "--epochs 0"),
        ({"balance": "logit-adjustment", "loss": "focal"}, "leave out --loss focal"),
        ({"balance": "subset-first", "minutes": 3.0}, "--balance subset-first: the training must have a fixed length"),
        ({"balance": "subset-first", "epochs": None}, "--balance subset-first: the training must have a fixed length"),
    ],
)
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(NoseprintError, match=message):
        options(**changes)
