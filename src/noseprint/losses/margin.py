"""ArcFace, CosFace and sub-centre ArcFace: a classifier of the identities whose right class must win by a margin."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.losses.margin_options import MarginKind


class MarginSoftmax(nn.Module):
    """Cross-entropy of scaled cosines to the centres of the classes, with a margin on the right class.

    arcface: cos(angle + margin), margin in radians (arXiv 1801.07698, eq. 3). Where angle + margin exceeds pi, the
    logit is cos(angle) - margin sin(margin), so that it falls with the angle everywhere.
    cosface: cos(angle) - margin (arXiv 1801.09414, eq. 4).

    weight: (classes * centres, dim), learned. Its rows are directions: their lengths do not count. With several centres
    a class takes the nearest one (sub-centre ArcFace, ECCV 2020). margin: one for all, or (classes,); `set_margin`
    changes it, it is no part of the weights.
    """

    margin: Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        *,
        kind: MarginKind = "arcface",
        margin: float | Tensor = 0.5,
        scale: float = 30.0,
        centres: int = 1,
    ) -> None:
        super().__init__()
        self.classes, self.centres, self._kind, self._scale = classes, centres, kind, scale
        self.weight = nn.Parameter(torch.randn(classes * centres, dim) / dim**0.5)  # rows of about length 1
        self.register_buffer("margin", torch.zeros(()), persistent=False)
        self.set_margin(margin)

    def set_margin(self, margin: float | Tensor) -> None:
        """Use this margin from now on, one for all classes or (classes,). Raises ValueError for another shape."""
        margin = torch.as_tensor(margin, dtype=torch.float32)
        if margin.ndim and margin.shape != (self.classes,):
            raise ValueError(f"margins of shape {tuple(margin.shape)} for {self.classes} classes")
        self.margin = margin.to(self.weight.device)

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of rows (N, dim) of any length with labels (N,): a float32 scalar, under autocast too."""
        with torch.autocast(rows.device.type, enabled=False):
            cosines = F.linear(F.normalize(rows.float()), F.normalize(self.weight.float()))
            cosines = cosines.view(-1, self.classes, self.centres).amax(2)
            own = cosines.gather(1, labels[:, None])
            margin = self.margin.expand(self.classes)[labels][:, None]
            logits = cosines.scatter(1, labels[:, None], self._with_margin(own, margin))
            return F.cross_entropy(self._scale * logits, labels)

    def _with_margin(self, cosine: Tensor, margin: Tensor) -> Tensor:
        if self._kind == "cosface":
            return cosine - margin
        edge = 1 - torch.finfo(cosine.dtype).eps  # the slope of acos is infinite at 1
        angle = torch.acos(cosine.clamp(-edge, edge))
        beyond = cosine - margin * torch.sin(margin)
        return torch.where(angle + margin <= torch.pi, torch.cos(angle + margin), beyond)
