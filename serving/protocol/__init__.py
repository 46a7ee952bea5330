"""How a request arrives and an answer leaves: V1, V2, gRPC, OpenAPI, quote verification, the client."""
