"""Fitted models as ONNX graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

from app.domain.features.catalog import MARKET_INDEX, MARKET_NAMES
from app.domain.forecast import VARIANCE_FLOOR_BP2
from app.training.bootstrap.fitted import CLIP, RATIO_LIMIT, Fitted, Network

OPSET, IR_VERSION = 17, 8


def graph(fitted: Fitted) -> bytes:
    """Write a model as ONNX: features in catalog order in, prediction and out-of-distribution score out."""
    nodes: list[Any] = []
    constants: dict[str, npt.NDArray[Any]] = {}

    def constant(name: str, value: object) -> str:
        constants[name] = np.array(value, dtype=np.float32)
        return name

    def node(operator: str, *sources: str, to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(sources), [to], **attributes))
        return to

    def gather(names: Sequence[str], to: str) -> str:
        constants[f"{to}_index"] = np.array([MARKET_INDEX[name] for name in names], dtype=np.int64)
        return node("Gather", "features", f"{to}_index", to=to, axis=1)

    def fill(source: str, other: str, to: str) -> str:
        return node("Where", node("IsNaN", source, to=f"{to}_missing"), other, source, to=to)

    def log(source: str, to: str) -> str:
        # Max may drop a NaN, Where does not.
        low = node("Less", source, constant("floor", VARIANCE_FLOOR_BP2), to=f"{to}_low")
        return node("Log", node("Where", low, "floor", source, to=f"{to}_bounded"), to=to)

    spec, scaling = fitted.inputs, fitted.scaling
    anchor = fill(gather(spec.anchor[:1], "anchor_first"), gather(spec.anchor[1:], "anchor_second"), "anchor_value")
    anchor = anchor if spec.anchor_is_log else log(anchor, "anchor_log")
    parts = []
    if spec.logs:
        powered = node("Mul", log(gather(spec.logs, "logs"), "logs_log"), constant("powers", spec.powers), to="powered")
        ratios = node("Sub", powered, anchor, to="ratios")
        limits = constant("ratio_low", -RATIO_LIMIT), constant("ratio_high", RATIO_LIMIT)
        parts.append(node("Clip", ratios, *limits, to="anchored_logs"))
    if spec.offsets:
        parts.append(node("Sub", gather(spec.offsets, "offsets"), anchor, to="anchored_offsets"))
    parts.append(gather(spec.plain, "plain"))
    filled = fill(node("Concat", *parts, to="inputs", axis=1), constant("fill", scaling.fill), "filled")
    z = node("Div", node("Sub", filled, "fill", to="centred"), constant("scale", scaling.scale), to="standard")
    widest = node("ReduceMax", node("Abs", z, to="sizes"), to="widest", axes=[1], keepdims=1)
    reach = node("Div", widest, constant("reach", scaling.reach), to="reached")
    x = node("Clip", z, constant("clip_low", -CLIP), constant("clip_high", CLIP), to="clipped")
    if isinstance(fitted.head, Network):
        for index, (weights, bias) in enumerate(fitted.head.layers):
            names = constant(f"weights_{index}", weights), constant(f"bias_{index}", bias)
            x = node("Gemm", x, *names, to=f"layer_{index}")
            if index < len(fitted.head.layers) - 1:
                x = node("Tanh", x, to=f"active_{index}")
        value = node("Add", x, anchor, to="value")
    else:
        white = node("MatMul", x, constant("whitening", fitted.head.whitening), to="white")
        mean = node("ReduceMean", node("Mul", white, white, to="squares"), to="mean", axes=[1], keepdims=1)
        value = node("Sqrt", mean, to="value")
    node("Concat", value, reach, to="prediction", axis=1)
    body = helper.make_graph(
        nodes,
        fitted.name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(MARKET_NAMES)])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="solver-api"
    )
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
