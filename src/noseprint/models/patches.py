"""The patches of a vision transformer: their stride, and its position embeddings on another grid."""

from typing import Any, cast

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from noseprint.errors import NoseprintError


def overlap_patches(model: nn.Module, *, image_size: int, stride: int) -> None:
    """Let a vision transformer cut square images of `image_size` pixels into patches `stride` pixels apart.

    A stride below the patch's side makes patches overlap (ShihaoShao-GH/1st-Place-Solution-in-Google-Universal-Image-
    Embedding). The position embeddings are resized to the new grid of (image_size - patch) // stride + 1 rows.
    Raises NoseprintError for another kind of network, and for a stride that is not in 1..patch.
    """
    patches = getattr(model, "patch_embed", None)
    if not isinstance(model, VisionTransformer) or not isinstance(patches, PatchEmbed):
        raise NoseprintError(
            f"stride {stride}: only plain vision transformers have patches that can overlap; leave it out"
        )
    patch = patches.patch_size[0]
    if not 1 <= stride <= patch <= image_size:
        raise NoseprintError(
            f"stride {stride} at {image_size} pixels: must be in 1..{patch}, the side of this network's patches"
        )
    rows = (image_size - patch) // stride + 1
    if model.pos_embed is not None:
        model.pos_embed = nn.Parameter(resize_positions(model.pos_embed.detach(), model, rows=rows))
    patches.proj.stride = (stride, stride)
    patches.strict_img_size = True  # or it takes only multiples of the patch's side
    patches.img_size, patches.grid_size, patches.num_patches = (image_size, image_size), (rows, rows), rows * rows


def resize_positions(positions: Tensor, model: nn.Module, *, rows: int) -> Tensor:
    """Position embeddings of the transformer `model` (1, prefix + h*w, C) on a square grid: (1, prefix + rows*rows, C).

    Bicubic with antialiasing, as timm resizes them; those of class and register tokens stay as they are.
    """
    about = cast(Any, model)
    prefix = 0 if getattr(about, "no_embed_class", False) else about.num_prefix_tokens
    resized: Tensor = resample_abs_pos_embed(
        positions, new_size=[rows, rows], old_size=list(about.patch_embed.grid_size), num_prefix_tokens=prefix
    )
    return resized


def copy_resized(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights of a timm model into one for images of another size, or with patches of another stride.

    Raises NoseprintError if tensors other than the position embeddings depend on the size.
    """
    own, given = target.state_dict(), source.state_dict()
    if "pos_embed" in own and own["pos_embed"].shape != given["pos_embed"].shape:
        grid = cast(Any, target).patch_embed.grid_size
        given["pos_embed"] = resize_positions(given["pos_embed"], source, rows=grid[0])
    if wrong := [key for key, tensor in own.items() if tensor.shape != given[key].shape]:
        raise NoseprintError(f"this network cannot take another size: {len(wrong)} tensors depend on it ({wrong[0]})")
    with torch.no_grad():
        target.load_state_dict(given)
