"""Pages over V1, V2 and gRPC from the endpoint of this container, and a quote honoured. Speaks to loopback alone."""

from serving.protocol.client import GrpcClient, RestClient

REQUEST = {"task": "search", "query": "drill", "page_size": 3}
HTTP, GRPC = "http://127.0.0.1:8080", "127.0.0.1:8081"

with RestClient(HTTP) as v1, RestClient(HTTP, v2=True) as v2, GrpcClient(GRPC) as grpc:
    pages = {name: asked.pages([REQUEST])[0] for name, asked in (("V1", v1), ("V2", v2), ("gRPC", grpc))}
    prices = {name: [(i["item_id"], i["price_minor"]) for i in page["items"]] for name, page in pages.items()}
    assert prices["V1"], pages["V1"]
    assert prices["V1"] == prices["V2"] == prices["gRPC"], prices
    item, price = prices["gRPC"][0]
    assert v1.verify(pages["gRPC"]["quote"], item, price_minor=price)["price_minor"] == price
alike = f"prices {prices['V1']} over V1, V2 and gRPC alike"
print(f"serve: model {pages['V1']['model_version']} {alike}; the quote is honoured")
