"""The KServe model: V1, V2 and gRPC requests go to one function, so that all get the same answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
from kserve.protocol.infer_type import deserialize_bytes_tensor, to_http_parameters

from fairtag.base.errors import RequestError, UnavailableError
from serving.page.page_endpoint import Endpoint
from serving.protocol import tensors
from serving.protocol.admission import CALLER, Admission
from serving.protocol.payload import PageRequest, parse_instances
from serving.protocol.tensors import Tensor
from serving.settings import Limits

V1, V2, GRPC = "v1", "v2", "grpc"
Headers = dict[str, str] | None
EXPLAINED = 4  # items whose prices cost what the explanation of one does: 3.4, measured on pages of 24
_NUMPY = {"INT32": np.int32, "INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_, "BYTES": np.object_}


class PricingPredictor(Model):  # type: ignore[misc]  # kserve ships no types
    """Prices pages for KServe's model server.

    Args:
        name: Model name in the URLs.
        limits: Limits of a request.
        admission: Gives each request a place for its work.
        load_endpoint: Builds the endpoint and warms it up; called once, by :meth:`load`.
    """

    def __init__(self, name: str, limits: Limits, admission: Admission, load_endpoint: Callable[[], Endpoint]) -> None:
        super().__init__(name)
        self._limits = limits
        self._admission = admission
        self._load_endpoint = load_endpoint
        self._endpoint: Endpoint | None = None

    def load(self) -> bool:
        """Load the endpoint; only then is the model ready."""
        if self._endpoint is None:
            self._endpoint = self._load_endpoint()
        self.ready = True
        return True

    def start(self) -> None:
        """Do nothing: the base class would declare a model ready that is not loaded."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint.

        Raises:
            UnavailableError: The model is not loaded yet.
        """
        if self._endpoint is None:
            raise UnavailableError("the model is not loaded yet")
        return self._endpoint

    @property
    def version(self) -> str:
        """Version of the model that serves."""
        return self.endpoint.served.core.version

    def get_input_types(self) -> list[dict[str, Any]]:
        """V2 metadata of the inputs."""
        return [spec.metadata() for spec in tensors.INPUTS]

    def get_output_types(self) -> list[dict[str, Any]]:
        """V2 metadata of the outputs."""
        return [spec.metadata() for spec in tensors.OUTPUTS]

    async def predict(
        self, payload: dict[str, Any] | InferRequest, headers: Headers = None
    ) -> dict[str, Any] | InferResponse:
        """Answer a V1 body with ``{"predictions": [...]}``, or V2 tensors with tensors.

        Raises:
            RequestError: The request breaks the contract.
        """
        if not isinstance(payload, InferRequest):
            requests = _bound(parse_instances(payload, self._limits), "instances")
            async with self._admission.work(CALLER.get(), _items(requests)):
                return {"predictions": await self.endpoint.answer(requests, V1, headers)}
        return await self._infer(payload, GRPC if payload.from_grpc else V2, headers)

    async def explain(self, payload: dict[str, Any] | InferRequest, _headers: Headers = None) -> dict[str, Any]:
        """Answer a V1 body with ``{"explanations": [...]}``.

        Raises:
            RequestError: The request breaks the contract, or is not a V1 body.
        """
        if isinstance(payload, InferRequest):
            raise RequestError("body", "V2 tensors", "send a V1 body to ask for explanations")
        requests = _bound(parse_instances(payload, self._limits), "instances")
        async with self._admission.work(CALLER.get(), EXPLAINED * _items(requests)):
            return {"explanations": await self.endpoint.explain(requests)}

    async def _infer(self, payload: InferRequest, protocol: str, headers: Headers) -> InferResponse:
        parameters = to_http_parameters(payload.parameters) if payload.parameters else None
        own = {name: value for name, value in (parameters or {}).items() if name != "binary_data_output"}
        asked = tensors.parse_tensors([read_tensor(value) for value in payload.inputs], own, self._limits)
        requests, wanted = _bound(asked, "inputs"), _wanted(payload)
        async with self._admission.work(CALLER.get(), _items(requests)):
            pages = await self.endpoint.answer(requests, protocol, headers)
        raw = payload.use_binary_outputs or not payload.from_grpc
        chosen = [tensor for tensor in tensors.page_tensors(pages) if not wanted or tensor.name in wanted]
        outputs = [write_tensor(tensor, as_array=raw) for tensor in chosen]
        return InferResponse(
            response_id=payload.id or pages[0]["quote_id"],
            model_name=payload.model_name,
            model_version=pages[0]["model_version"],
            infer_outputs=outputs,
            from_grpc=payload.from_grpc,
            use_binary_outputs=payload.use_binary_outputs
            and not payload.from_grpc,  # arrays travel raw over gRPC anyway
            requested_outputs=None if payload.from_grpc else payload.request_outputs,
        )


def _bound(requests: Sequence[PageRequest], field: str) -> Sequence[PageRequest]:
    """Requests with what a browser token fixes.

    Raises:
        RequestError: One asks for what the token does not allow.
    """
    token = CALLER.get().token
    if token is None:
        return requests
    return [token.bind(request, f"{field}[{number}]") for number, request in enumerate(requests)]


def _items(requests: Sequence[PageRequest]) -> int:
    """Items of all pages: the measure of work."""
    return sum(request.most_items for request in requests)


def read_tensor(value: InferInput) -> Tensor:
    """A KServe input as a plain tensor; nested JSON lists are flattened, bytes become text.

    Raises:
        RequestError: The bytes are not what datatype and shape say.
    """
    field = f"inputs.{value.name}"
    shape = value.shape
    if not isinstance(shape, list) or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise RequestError(field, shape, "its shape must be a list of whole numbers")
    raw = value._raw_data  # kserve offers raw bytes no other way that does not raise ValueError
    try:
        data = _flat(value.data) if raw is None else _from_bytes(raw, value.datatype)
        texts = [item.decode("utf-8") if isinstance(item, bytes) else item for item in data]
    except (ValueError, TypeError, RecursionError) as error:
        rule = "its bytes must be UTF-8" if isinstance(error, UnicodeDecodeError) else "its data must fit its datatype"
        raise RequestError(field, "(not shown)", rule) from None
    return Tensor(value.name, value.datatype, tuple(shape), texts)


def write_tensor(tensor: Tensor, *, as_array: bool) -> InferOutput:
    """A plain tensor as a KServe output; over gRPC an array travels as raw bytes and a list as typed contents."""
    data: Any = list(tensor.data)
    if as_array:
        data = np.array(data, dtype=_NUMPY[tensor.datatype]).reshape(tensor.shape)
    return InferOutput(name=tensor.name, shape=list(tensor.shape), datatype=tensor.datatype, data=data)


def _wanted(payload: InferRequest) -> Sequence[str]:
    """Names of the requested outputs, empty for all.

    Raises:
        RequestError: An output that does not exist.
    """
    names = [output.name for output in payload.request_outputs or ()]
    known = {spec.name for spec in tensors.OUTPUTS}
    for name in names:
        if name not in known:
            raise RequestError("outputs", name, f"no such tensor; the outputs are {', '.join(sorted(known))}")
    return names


def _from_bytes(raw: bytes, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        return list(deserialize_bytes_tensor(raw)) if _whole(raw) else _refuse()
    kind = _NUMPY.get(datatype)
    if kind is None:
        return []  # refused later, with a message about its datatype
    values: list[Any] = np.frombuffer(raw, dtype=kind).tolist()
    return values


def _whole(raw: bytes) -> bool:
    """Whether length-prefixed texts end where the bytes end."""
    at = 0
    while at + 4 <= len(raw):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
    return at == len(raw)


def _refuse() -> list[Any]:
    raise ValueError("truncated")


def _flat(data: Any) -> list[Any]:
    """Values in row-major order, whether the JSON is flat or nested by axis."""
    if not isinstance(data, list):
        raise TypeError(type(data).__name__)
    if not any(isinstance(value, list) for value in data):
        return data
    return [inner for value in data for inner in (_flat(value) if isinstance(value, list) else [value])]
