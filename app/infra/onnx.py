"""Trained models, run by onnxruntime after their bytes were checked."""

import json
import os
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.errors import ModelRefused
from app.domain.features.catalog import schema_hash
from app.domain.model import ModelInfo

BUNDLED = Path(__file__).parent / "bundled"
MANIFEST = "manifest.json"

ALLOWED_OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Flatten",
        "Gather",
        "Gemm",
        "Greater",
        "Identity",
        "IsNaN",
        "LSTM",
        "Less",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "TreeEnsemble",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
        "Unsqueeze",
        "Where",
    ]
)
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

# Field numbers of onnx.proto: message -> {field: what it holds}.
_MODEL = {7: "graph", 20: "training", 25: "function"}
_GRAPH = {1: "node", 5: "tensor", 15: "sparse"}
_NODE = {4: "operator", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}
_SPARSE = {1: "tensor", 2: "tensor"}
_TENSOR = {13: "external", 14: "location"}
_MESSAGES = {
    "model": _MODEL,
    "graph": _GRAPH,
    "node": _NODE,
    "attribute": _ATTRIBUTE,
    "sparse": _SPARSE,
    "tensor": _TENSOR,
}
_MAX_DEPTH = 16


class OnnxPredictor:
    """Runs the models that a directory's manifest names, each loaded at its first use.

    A model whose bytes, feature schema or operators are not what was registered raises ModelRefused.
    """

    def __init__(self, directory: Path = BUNDLED) -> None:
        self._directory = directory
        manifest = json.loads((directory / MANIFEST).read_text())
        self._entries = {entry["name"]: entry for entry in manifest["models"]}
        self._infos = {name: _info(entry) for name, entry in self._entries.items()}
        self._sessions: dict[str, tuple[ModelInfo, Any]] = {}
        self._loading = threading.Lock()

    def describe(self, name: str) -> ModelInfo | None:
        """Say which version serves under a name, or None when there is none."""
        return self._infos.get(name)

    def predict(self, name: str, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict a batch: one row in, one row out."""
        loaded = self._sessions.get(name) or self._load(name)
        return _run(*loaded, rows)

    def warm(self) -> dict[str, str]:
        """Load every model now; answers why those were refused that are not what was registered."""
        refused = {}
        for name in self._infos:
            try:
                self._load(name)
            except ModelRefused as error:
                refused[name] = error.detail
        return refused

    def install(self, info: ModelInfo, content: bytes) -> None:
        """Serve another version from now on; on ModelRefused the present one keeps serving."""
        session = _session(info, content)
        self._sessions[info.name] = (info, session)
        self._infos[info.name] = info

    def _load(self, name: str) -> tuple[ModelInfo, Any]:
        with self._loading:
            if name not in self._sessions:
                entry = self._entries.get(name)
                if entry is None:
                    raise ModelRefused(f"there is no model {name!r}; train one, or use a baseline")
                self.install(_info(entry), _read(self._directory, entry["file"]))
            return self._sessions[name]


def check_graph(content: bytes) -> None:
    """Refuse external data and operators outside the allow-list, without parsing tensors. Raises ModelRefused."""
    try:
        operators = _walk(memoryview(content), "model", 0)
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelRefused("the model is not a valid ONNX file; export it again") from error
    if not operators:
        raise ModelRefused("the model has no operators; export it again")


def _info(entry: dict[str, Any]) -> ModelInfo:
    return ModelInfo(entry["name"], entry["version"], entry["sha256"], entry["feature_schema"])


def _read(directory: Path, file: str) -> bytes:
    path = (directory / file).resolve()
    if path.parent != directory.resolve():
        raise ModelRefused(f"the manifest names {file!r}, which is outside its directory")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{file} cannot be read; install the models again") from error


def _session(info: ModelInfo, content: bytes) -> Any:
    if sha256(content).hexdigest() != info.sha256:
        raise ModelRefused(f"the bytes of {info.name} version {info.version} are not those registered")
    if info.feature_schema != schema_hash():
        raise ModelRefused(f"{info.name} version {info.version} was trained on other features; train it again")
    check_graph(content)
    # onnxruntime's official builds report to their maker unless told not to before the import, which itself costs
    # 30 MB that a process without models never pays.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelRefused(f"onnxruntime cannot load {info.name} version {info.version}: {error}") from error
    if len(session.get_inputs()) != 1 or session.get_inputs()[0].type != "tensor(float)":
        raise ModelRefused(f"{info.name} version {info.version} must take one tensor of floats")
    return session


def _run(info: ModelInfo, session: Any, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    try:
        (outputs,) = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: rows})
    except Exception as error:
        raise ModelRefused(f"{info.name} version {info.version} cannot take rows of shape {rows.shape}") from error
    result: npt.NDArray[np.float32] = np.asarray(outputs, dtype=np.float32).reshape(len(rows), -1)
    return result


def _walk(data: memoryview, message: str, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise ModelRefused("the model nests its graphs too deeply")
    meanings = _MESSAGES[message]
    operators = 0
    for number, value in _fields(data):
        meaning = meanings.get(number)
        if meaning is None:
            continue
        if meaning in ("external", "location"):
            if meaning == "external" or value != 0:
                raise ModelRefused("the model keeps data outside its file; export it as one file")
            continue
        if not isinstance(value, memoryview):
            raise ModelRefused("the model is not a valid ONNX file; export it again")
        if meaning in ("training", "function"):
            raise ModelRefused(f"the model carries a {meaning} section, which is not served")
        if meaning == "operator":
            _allow(bytes(value).decode(), ALLOWED_OPERATORS, "operator")
            operators += 1
        elif meaning == "domain":
            _allow(bytes(value).decode(), ALLOWED_DOMAINS, "operator domain")
        else:
            operators += _walk(value, meaning, depth + 1)
    return operators


def _allow(name: str, allowed: frozenset[str], what: str) -> None:
    if name not in allowed:
        raise ModelRefused(f"the model uses the {what} {name!r}, which is not on the allow-list")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ModelRefused("the model is not a valid ONNX file; export it again")
        if at + size > len(data):
            raise IndexError(at)
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
