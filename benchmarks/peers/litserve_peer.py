"""LitServe with its own batching, as its documentation recommends.

Annotations stay objects here: LitServe derives the body's schema from that of ``decode_request``.
"""

from typing import Any

import litserve  # type: ignore[import-not-found]  # installed in the servers' own environment

from benchmarks.peers.server import BATCH, WAIT_SECONDS, Shop, named_shop


class Pricing(litserve.LitAPI):  # type: ignore[misc]
    """Pages for batches of queries."""

    shop: Shop

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model in the worker's process."""
        self.shop = named_shop()
        self.shop.core.encode(["warm up"])

    def decode_request(self, request: dict[str, Any]) -> str:
        """The query."""
        return str(request["query"])

    def batch(self, inputs: list[str]) -> list[str]:
        """Queries as they are."""
        return inputs

    def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
        """The pages of some queries."""
        return self.shop.pages(inputs)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pages as they are."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The page as JSON."""
        return output


def serve(port: int, workers: int = 1) -> None:
    """Serve until terminated."""
    api = Pricing(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", num_api_servers=1)
