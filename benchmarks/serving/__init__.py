"""The endpoint under load: beside other servers, for minutes on end, and against malformed requests."""
