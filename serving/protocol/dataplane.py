"""KServe's data plane with truthful readiness, and with a clear refusal of whatever it cannot read."""

from __future__ import annotations

from typing import Any, cast

import orjson
from kserve.errors import InvalidInput, ModelNotReady
from kserve.model import BaseKServeModel, InferenceVerb
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v2_datamodels import InferenceRequest

from fairtag.base.errors import RequestError

JSON_TYPES = ("", "application/json", "application/octet-stream")
Headers = dict[str, str] | None


class PricingDataPlane(DataPlane):  # type: ignore[misc]  # kserve ships no types
    """The data plane behind all three protocols.

    Args:
        models: KServe's registry of models.
    """

    def __init__(self, models: ModelRepository) -> None:
        super().__init__(model_registry=models)
        self.draining = False

    async def ready(self) -> bool:
        """Whether every model can answer and the server is not draining."""
        if self.draining:
            return False
        return all([await model.healthy() for model in self.model_registry.get_models().values()])

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """Whether a model is ready; while draining, probes are told no and requests are still served."""
        if self.draining and not disable_predictor_health_check:
            return False
        return bool(await super().model_ready(model_name, disable_predictor_health_check))

    async def get_model(self, name: str) -> BaseKServeModel:
        """The model. A request never loads one, because that would stall all other requests."""
        model = self.get_model_from_registry(name)
        if not await model.healthy():
            raise ModelNotReady(name)
        return model

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """V2 metadata, with the version that serves."""
        metadata = await super().model_metadata(model_name)
        return {**metadata, "versions": [self.version(model_name)]}

    def check_version(self, model_name: str, version: str) -> None:
        """Refuse a version of a model other than the one that serves; an empty one is any.

        Raises:
            RequestError: Status 404.
        """
        live = self.version(model_name)
        if version and version != live:
            raise RequestError("model_version", version, f"{live} serves; leave the version out", status=404)

    def version(self, model_name: str) -> str:
        """The version of a model that serves."""
        return str(self.get_model_from_registry(model_name).version)

    def decode(
        self, body: Any, headers: Headers, protocol_version: str = "v1", model_name: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A body as V1 JSON or as a V2 request; CloudEvents are not supported.

        Raises:
            RequestError: The body cannot be read. That is the client's error, never a server error.
        """
        if protocol_version == "v1":
            return self._decode_v1(body, headers or {}), {}
        try:
            return cast(tuple[Any, dict[str, Any]], super().decode(body, headers, protocol_version, model_name))
        except InvalidInput as error:
            raise RequestError("body", "(not shown)", error.reason) from None

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: dict[str, str], model_name: str | None
    ) -> InferRequest:
        """A V2 request; the length of its JSON part must lie within the body."""
        if isinstance(body, bytes):
            length = headers.get("inference-header-content-length", str(len(body)))
            if not length.isdecimal() or int(length) > len(body):
                rule = "it must be the number of bytes of the JSON part"
                raise RequestError("inference-header-content-length", length, rule)
            return _binary_request(body, int(length), model_name)
        return super().decode_inference_request(body, headers, model_name)

    def encode(
        self,
        model_name: str,
        response: Any,
        headers: Headers,  # noqa: ARG002 - the base's signature
        req_attributes: dict[str, Any],
    ) -> tuple[Any, dict[str, str]]:
        """The response's body as bytes, whatever headers the request had.

        Bytes avoid the routes' own, slower serialisation. Header names are capitalised because the V2 route drops
        lower-case ones.
        """
        body, extra = super().encode(model_name, response, None, req_attributes)
        binary = isinstance(body, bytes)
        content = body if binary else orjson.dumps(body)
        media = "application/octet-stream" if binary else "application/json"
        return content, {**extra, "Content-Type": media, "Content-Length": str(len(content))}

    async def explain(self, model_name: str, request: Any, headers: Headers = None) -> tuple[Any, dict[str, str]]:
        """Explain; the base class would send the request's own headers back."""
        model = await self.get_model(model_name)
        response, extra = await model(request, verb=InferenceVerb.EXPLAIN, headers=headers)
        return response, dict(extra)

    @staticmethod
    def _decode_v1(body: Any, headers: dict[str, str]) -> Any:
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in JSON_TYPES:
            raise RequestError("content-type", media, "it must be application/json", status=415)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise RequestError("body", "(not shown)", "it must be JSON in UTF-8") from None


def _binary_request(body: bytes, length: int, model_name: str | None) -> InferRequest:
    """A V2 request whose tensors may follow its JSON as bytes; KServe's reader blames their faults on the whole body.

    Args:
        body: JSON, then the bytes of the tensors in their order.
        length: Bytes of the JSON.
        model_name: Whom it is for.

    Raises:
        RequestError: Naming the tensor where there is one.
    """
    try:
        head = orjson.loads(body[:length])
    except orjson.JSONDecodeError:
        raise RequestError("body", "(not shown)", "its first part must be JSON in UTF-8") from None
    inputs, outputs = (_objects(head, field) for field in ("inputs", "outputs"))
    tail, read = body[length:], []
    for number, tensor in enumerate(inputs):
        value, tail = _binary_input(tensor, number, tail)
        read.append(value)
    if tail:
        rule = "the body must end with its last tensor, as `binary_data_size` announces"
        raise RequestError("body", f"{len(tail)} bytes more", rule)
    parameters = head.get("parameters")
    if not isinstance(parameters, dict | None):
        raise RequestError("parameters", parameters, "it must be a JSON object")
    return InferRequest(
        model_name=model_name,
        request_id=head.get("id"),
        parameters=parameters,
        infer_inputs=read,
        request_outputs=[RequestedOutput(str(output.get("name")), output.get("parameters")) for output in outputs]
        or None,
    )


def _objects(head: Any, field: str) -> list[dict[str, Any]]:
    """The tensors of a V2 request."""
    found = head.get(field) if isinstance(head, dict) else None
    if found is None and field == "outputs":
        return []
    if not isinstance(found, list) or not all(isinstance(tensor, dict) for tensor in found):
        raise RequestError(field, "(not shown)", "it must be a list of tensors")
    return found


def _binary_input(tensor: dict[str, Any], number: int, tail: bytes) -> tuple[InferInput, bytes]:
    """A tensor with its data from the JSON or from the bytes behind it, and the bytes that are left."""
    name, datatype = tensor.get("name"), tensor.get("datatype")
    field = f"inputs.{name}" if isinstance(name, str) else f"inputs[{number}]"
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise RequestError(field, "(not shown)", "a tensor needs the texts `name` and `datatype`")
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise RequestError(f"{field}.parameters", parameters, "it must be a JSON object")
    value = InferInput(name, tensor.get("shape"), datatype, tensor.get("data"), parameters)
    if value.data is not None:
        return value, tail
    size = parameters.get("binary_data_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail):
        rule = f"it needs `data`, or `binary_data_size` with at most the {len(tail)} bytes that are left of the body"
        raise RequestError(field, size, rule)
    value._raw_data = tail[:size]  # kserve offers no other way to give a tensor raw bytes
    return value, tail[size:]


class ClosedRepository(ModelRepositoryExtension):  # type: ignore[misc]
    """The V2 repository extension, closed: only the operator loads models."""

    async def load(self, model_name: str) -> None:
        """Refuse.

        Raises:
            RequestError: Always, status 403.
        """
        raise RequestError("model_name", model_name, "models are loaded by the operator", status=403)

    async def unload(self, model_name: str) -> None:
        """Refuse.

        Raises:
            RequestError: Always, status 403.
        """
        raise RequestError("model_name", model_name, "models are unloaded by the operator", status=403)
