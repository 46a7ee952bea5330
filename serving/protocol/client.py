"""Clients of the endpoint: V1 and V2 over HTTP, V2 over gRPC.

>>> with RestClient("http://localhost:8080") as shop:  # doctest: +SKIP
...     (page,) = shop.pages([{"query": "cordless drill", "user_id": "u-17", "jurisdiction": "DE"}])
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, cast

import httpx

from fairtag.base.errors import RequestRefused, UnavailableError, error_of_answer
from serving.protocol.tensors import Tensor, request_tensors, tensor_pages

Request = Mapping[str, Any]


class PricingClient(Protocol):
    """Asks for priced pages."""

    def pages(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """The page of each request, in the form of the V1 protocol.

        Raises:
            RequestRefused: The endpoint refused the request.
            UnavailableError: The endpoint did not answer with a page.
        """
        ...


class RestClient:
    """V1 or V2 over HTTP.

    Args:
        url: ``http://host:port``.
        model: Model name.
        v2: Speak V2 tensors rather than V1 JSON.
        api_key: Bearer key, if the endpoint asks for one.
        timeout: Longest wait, seconds.
    """

    def __init__(
        self, url: str, model: str = "fairtag", *, v2: bool = False, api_key: str | None = None, timeout: float = 10.0
    ) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._model = model
        self._v2 = v2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pages(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """The page of each request."""
        if not self._v2:
            body = {"instances": [dict(request) for request in requests]}
            return cast(list[dict[str, Any]], self._post(f"/v1/models/{self._model}:predict", body)["predictions"])
        inputs = [_as_json(tensor) for tensor in request_tensors(requests)]
        answer = self._post(f"/v2/models/{self._model}/infer", {"id": uuid.uuid4().hex, "inputs": inputs})
        outputs = [Tensor(o["name"], o["datatype"], tuple(o["shape"]), o["data"]) for o in answer["outputs"]]
        return tensor_pages(outputs)

    def explain(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """Why the prices of each page would be what they are."""
        body = {"instances": [dict(request) for request in requests]}
        return cast(list[dict[str, Any]], self._post(f"/v1/models/{self._model}:explain", body)["explanations"])

    def verify(
        self, quote: str, item_id: str, *, user_id: str | None = None, price_minor: int | None = None
    ) -> dict[str, Any]:
        """What a quote guarantees for an item.

        Raises:
            QuoteError: The quote is not honoured; the subclass says why.
        """
        body = {"quote": quote, "item_id": item_id, "user_id": user_id, "price_minor": price_minor}
        return self._post("/v1/quotes:verify", body)

    def ready(self) -> bool:
        """Whether the model answers and the server is not about to stop."""
        try:
            return self._http.get(f"/v2/models/{self._model}/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(f"the endpoint did not answer ({type(error).__name__}): {error}") from error
        if response.is_success:
            return cast(dict[str, Any], response.json())
        raise _refusal(response)


class GrpcClient:
    """V2 over gRPC; importing KServe takes seconds.

    Args:
        address: ``host:port``.
        model: Model name.
        api_key: Bearer key, if the endpoint asks for one.
        timeout: Longest wait, seconds.
    """

    def __init__(
        self, address: str, model: str = "fairtag", *, api_key: str | None = None, timeout: float = 10.0
    ) -> None:
        import grpc  # type: ignore[import-untyped]  # its stubs are a package of their own
        from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

        self._channel = grpc.insecure_channel(address)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._model = model
        self._metadata = [] if api_key is None else [("authorization", f"Bearer {api_key}")]
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pages(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """The page of each request."""
        import grpc
        from kserve import InferInput, InferRequest, InferResponse

        inputs = [InferInput(t.name, list(t.shape), t.datatype, data=list(t.data)) for t in request_tensors(requests)]
        message = InferRequest(self._model, inputs, request_id=uuid.uuid4().hex).to_grpc()
        try:
            answer = self._stub.ModelInfer(message, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            text = f"{error.code().name}: {error.details()}"
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                raise RequestRefused(text) from error
            raise UnavailableError(f"the endpoint did not answer with a page: {text}") from error
        outputs = InferResponse.from_grpc(answer).outputs
        return tensor_pages([_plain(output) for output in outputs])

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _as_json(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": list(tensor.data)}


def _plain(output: Any) -> Tensor:
    values = [value.decode() if isinstance(value, bytes) else value for value in output.as_numpy().ravel().tolist()]
    return Tensor(output.name, output.datatype, tuple(output.shape), values)


def _refusal(response: httpx.Response) -> Exception:
    """The error of our error tree that stands for an answer."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    return error_of_answer(response.status_code, response.reason_phrase, body)
