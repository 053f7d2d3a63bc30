import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from app.domain.errors import ModelRefused
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.domain.model import ModelInfo
from app.infra.onnx import BUNDLED, MANIFEST, OnnxPredictor, check_graph

WIDTH = len(MARKET_NAMES)
ROWS = np.zeros((3, WIDTH), dtype=np.float32)


def model(*, operator: str = "Mul", domain: str = "") -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["features", "factor"], ["prediction"], domain=domain)],
        "test",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", WIDTH])],
        [numpy_helper.from_array(np.array([2.0], dtype=np.float32), "factor")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def info(content: bytes, **changes: Any) -> ModelInfo:
    return ModelInfo(**{"name": "double", "version": 3, "sha256": sha256(content).hexdigest(),
                        "feature_schema": schema_hash(), **changes})  # fmt: skip


def outside(proto: ModelProto) -> None:
    proto.graph.initializer[0].external_data.add(key="location", value="/etc/hostname")


def outside_by_location(proto: ModelProto) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


def outside_in_an_attribute(proto: ModelProto) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1])
    tensor.external_data.add(key="location", value="weights.bin")
    proto.graph.node.append(helper.make_node("Constant", [], ["other"], value=tensor))


def outside_in_a_sparse_tensor(proto: ModelProto) -> None:
    proto.graph.sparse_initializer.add().values.external_data.add(key="location", value="weights.bin")


def hidden_in_a_subgraph(proto: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Loop", [], [])], "inner", [], [])
    attribute = AttributeProto(name="body", type=AttributeProto.GRAPH, g=inner)
    proto.graph.node[0].attribute.append(attribute)


def own_function(proto: ModelProto) -> None:
    proto.functions.add(name="Mul", domain="")


def training_section(proto: ModelProto) -> None:
    proto.training_info.add()


@pytest.mark.parametrize(
    "taint",
    [
        outside,
        outside_by_location,
        outside_in_an_attribute,
        outside_in_a_sparse_tensor,
        hidden_in_a_subgraph,
        own_function,
        training_section,
    ],
)
def test_graphs_that_reach_outside_are_refused(taint: Callable[[ModelProto], None]) -> None:
    proto = model()
    check_graph(proto.SerializeToString())
    taint(proto)
    with pytest.raises(ModelRefused):
        check_graph(proto.SerializeToString())


@pytest.mark.parametrize(("operator", "domain"), [("Loop", ""), ("If", ""), ("Mul", "com.microsoft"), ("Custom", "x")])
def test_operators_off_the_list_are_refused(operator: str, domain: str) -> None:
    with pytest.raises(ModelRefused, match="allow-list"):
        check_graph(model(operator=operator, domain=domain).SerializeToString())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_is_raised(content: bytes) -> None:
    with pytest.raises(ModelRefused):
        check_graph(content)


@settings(deadline=None)
@given(st.integers(1, 100))
def test_a_truncated_model_never_raises_anything_else(cut: int) -> None:
    content = model().SerializeToString()
    try:
        check_graph(content[: len(content) * cut // 101])
    except ModelRefused:
        return


def test_the_bundled_models_load_and_predict() -> None:
    predictor = OnnxPredictor()
    predictor.warm()
    for name in ("volatility", "volume", "anomaly"):
        described = predictor.describe(name)
        assert described is not None
        assert described.version == 1
        assert predictor.predict(name, ROWS).shape == (3, 2)
    assert predictor.describe("drift") is None
    with pytest.raises(ModelRefused, match="no model"):
        predictor.predict("drift", ROWS)


def test_the_bundle_is_small_and_complete() -> None:
    manifest = json.loads((BUNDLED / MANIFEST).read_text())
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 200_000
    for entry in manifest["models"]:
        assert sha256((BUNDLED / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["feature_schema"] == schema_hash()


def copy_of_the_bundle(directory: Path, change: Callable[[dict[str, Any]], None]) -> OnnxPredictor:
    shutil.copytree(BUNDLED, directory, dirs_exist_ok=True)
    manifest = json.loads((directory / MANIFEST).read_text())
    change(manifest["models"][0])
    (directory / MANIFEST).write_text(json.dumps(manifest))
    return OnnxPredictor(directory)


def test_a_tampered_model_is_refused_and_the_others_serve(tmp_path: Path) -> None:
    predictor = copy_of_the_bundle(tmp_path, lambda entry: None)
    file = tmp_path / "volatility.onnx"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelRefused, match="bytes"):
        predictor.predict("volatility", ROWS)
    assert predictor.warm().keys() == {"volatility"}
    assert predictor.predict("volume", ROWS).shape == (3, 2)


@pytest.mark.parametrize("change", [{"feature_schema": "0" * 64}, {"file": "../volatility.onnx"}, {"file": "no.onnx"}])
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    predictor = copy_of_the_bundle(tmp_path, lambda entry: entry.update(change))
    with pytest.raises(ModelRefused):
        predictor.predict("volatility", ROWS)


def test_a_newer_version_is_served_once_installed() -> None:
    predictor = OnnxPredictor()
    content = model().SerializeToString()
    predictor.install(info(content), content)
    assert predictor.describe("double") == info(content)
    assert predictor.predict("double", ROWS + 1).tolist() == (ROWS + 2).tolist()


def test_a_refused_version_leaves_the_present_one_serving() -> None:
    predictor = OnnxPredictor()
    content = model().SerializeToString()
    predictor.install(info(content), content)
    with pytest.raises(ModelRefused, match="other features"):
        predictor.install(info(content, version=4, feature_schema="other"), content)
    with pytest.raises(ModelRefused, match="not those registered"):
        predictor.install(info(content, version=4), content + b"\x00")
    assert predictor.describe("double") == info(content)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelRefused, match="rows of shape"):
        OnnxPredictor().predict("volatility", np.zeros((1, 3), dtype=np.float32))


def test_importing_costs_nothing_and_loading_leaves_no_trace_at_home(tmp_path: Path) -> None:
    script = (
        "import sys, os, app.infra.onnx as adapter\n"
        "assert 'onnxruntime' not in sys.modules and 'onnx' not in sys.modules\n"
        "adapter.OnnxPredictor().warm()\n"
        "assert 'onnxruntime' in sys.modules and 'onnx' not in sys.modules\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(BUNDLED.parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []
