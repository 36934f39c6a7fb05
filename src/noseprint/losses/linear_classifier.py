"""Cross-entropy of a linear classifier on a feature."""

from torch import Tensor, nn
from torch.nn import functional as F


class LinearClassifier(nn.Module):
    """Cross-entropy of a linear classifier: logits divided by `temperature`, targets smoothed (arXiv 1512.00567)."""

    def __init__(self, features: int, classes: int, *, temperature: float = 1.0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self._temperature, self._smoothing = temperature, smoothing

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (N, C) with labels (N,) -> a scalar."""
        return F.cross_entropy(self.linear(rows) / self._temperature, labels, label_smoothing=self._smoothing)


def cgd_auxiliary(features: int, classes: int) -> LinearClassifier:
    """CGD's auxiliary classifier of the first descriptor (arXiv 1903.10663, section 3.2), starting at zero."""
    classifier = LinearClassifier(features, classes, temperature=0.5, smoothing=0.1)
    nn.init.zeros_(classifier.linear.weight)
    nn.init.zeros_(classifier.linear.bias)
    return classifier
