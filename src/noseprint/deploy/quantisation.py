"""Networks in 8 bits: post-training quantisation by NNCF (arXiv 2002.08679)."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from noseprint.models.network import Network
from noseprint.models.openvino_runtime import import_openvino

T = TypeVar("T")
CALIBRATION_IMAGES = 300
"""Training photographs that determine the ranges of the 8-bit numbers."""


def quantise_on(
    images: Sequence[T],
    model: Any,
    network: Network,
    *,
    read: Callable[[T], npt.NDArray[np.uint8]],
    ignored: Sequence[str],
) -> Any:
    """The OpenVINO model of `network` in 8 bits.

    images: to calibrate on; `read` turns each into the input of the model. ignored: the names of the
    operations that stay in float.
    """
    import_openvino()
    import nncf  # noqa: PLC0415 - an extra, and only after openvino's telemetry is off

    nncf.set_log_level(logging.WARNING)
    has_attention = any("attn" in name for name, _ in network.backbone.named_modules())
    return nncf.quantize(
        model,
        nncf.Dataset(images, read),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
        ignored_scope=nncf.IgnoredScope(names=list(ignored), validate=False),
    )


def operations_after_backbone(model: Any) -> list[str]:
    """The operations between the backbones and the output; in 8 bits, embeddings would not have length 1."""
    return _operations_before(model.outputs[0].node, until=("network.backbone", "network.others"))


def operations_before_network(model: Any) -> list[str]:
    """The operations of a photograph's preprocessing: all before the last conversion to uint8."""
    uint8 = import_openvino().Type.u8
    *_, pixels = (
        operation
        for operation in model.get_ordered_ops()
        if operation.get_type_name() == "Convert" and operation.get_output_element_type(0) == uint8
    )
    return _operations_before(pixels)


def _operations_before(operation: Any, *, until: Sequence[str] = ()) -> list[str]:
    """The operations that an operation depends on, up to those with one of `until` in the name, which are left out."""
    names, todo = set(), [value.get_node() for value in operation.input_values()]
    while todo:
        operation = todo.pop()
        name = operation.get_friendly_name()
        if operation.get_type_name() != "Constant" and not any(part in name for part in until) and name not in names:
            names.add(name)
            todo += [value.get_node() for value in operation.input_values()]
    return sorted(names)
