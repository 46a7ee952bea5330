"""The ports of an endpoint, looked at before seconds are spent on loading a model."""

from __future__ import annotations

import socket

from fairtag.base.errors import ConfigError


def require_free(host: str, http_port: int, grpc_port: int) -> None:
    """Refuse a port that another program listens on; 0 (any) and -1 (none) are never taken.

    Raises:
        ConfigError: Naming the address and what to do.
    """
    if http_port == grpc_port > 0:
        raise ConfigError(f"port {http_port} is given for both HTTP and gRPC; choose another for one of them")
    for protocol, port in (("HTTP", http_port), ("gRPC", grpc_port)):
        if port <= 0:
            continue
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            raise ConfigError(
                f"{protocol} port {port} of {host} cannot be opened ({error.strerror or error}); stop what listens "
                f"there, or choose another port ({_options(protocol)})"
            ) from error


def _options(protocol: str) -> str:
    option = "port" if protocol == "HTTP" else "grpc-port"
    return f"fairtag serve --{option}, or FAIRTAG_{protocol.upper()}_PORT"
