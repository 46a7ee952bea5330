"""``fairtag``: the command line. Parses, wires and shows; everything it does is done elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.exceptions import TyperException

from fairtag.base.errors import INTERRUPTED, ConfigError, FairtagError, exit_code, legend
from pipelines.cli_cluster import add_commands

HELP = f"""Search results with a fair price for each customer: train, judge, serve and watch a pricing model.

Start with `fairtag run`: the whole loop on a simulated shop, in minutes, without a cluster or an account.
Then `fairtag serve RUN`, and `fairtag quote "wireless drill"` from another terminal.

Exit codes: {legend()}. FAIRTAG_DEBUG=1 shows the traceback of a failure.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
console = Console()

Run = Annotated[Path, typer.Argument(help="Folder of a run, as given to `fairtag run --out`.", metavar="RUN")]
Address = Annotated[str, typer.Option("--url", help="Address of the endpoint.")]
Jurisdiction = Annotated[str, typer.Option(help="Where the customer is (ISO 3166: DE, US-NY); decides the disclosure.")]
Place = Annotated[
    str | None, typer.Option("--jurisdiction", help="Where the customer is (DE, US-NY); none: no personal price.")
]


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the run; everything it makes lies under it.")] = Path(
        "runs/demo"
    ),
    dataset: Annotated[
        str, typer.Option(help="synthetic, complete-journey, home-depot, online-retail, dominicks, csv or parquet.")
    ] = "synthetic",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; for csv and parquet, of your tables.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="demo: minutes on two cores. standard, gpu: the encoder is trained to the end.")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    items: Annotated[int, typer.Option(help="Products of the simulated shop.")] = 3_000,
    users: Annotated[int, typer.Option(help="Customers of the simulated shop.")] = 5_000,
    impressions: Annotated[int, typer.Option(help="Items shown in the simulated shop.")] = 200_000,
    epochs: Annotated[float | None, typer.Option(help="Passes of the encoder over the judged pairs.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Most steps of the encoder; 0 leaves it as it came.")] = None,
    encoder: Annotated[
        str,
        typer.Option(help='Further encoder settings as JSON: {"method": "lora"}, {"student_layers": 3}, {"folds": 5}.'),
    ] = "{}",
    max_quarantined: Annotated[float, typer.Option(help="Share of broken rows above which a table is refused.")] = 0.05,
    jurisdiction: Jurisdiction = "US-NY",
    redis: Annotated[str | None, typer.Option(help="host:port of Redis as online store; SQLite without.")] = None,
    registry: Annotated[str | None, typer.Option(help="Address of an MLflow server; SQLite without.")] = None,
    runner: Annotated[str, typer.Option(help="process, or docker: each step in our images, locked down.")] = "process",
    train_only: Annotated[
        bool, typer.Option("--train-only", help="End when an accepted model is live; start no endpoint of its own.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run the pipeline even where nothing changed.")] = False,
) -> None:
    """Run the whole loop on this machine: validate, train, judge, and where accepted serve, quote and report.

    The pipeline is the one that Kubeflow runs, step by step, each in a process of its own. A model that the decision
    rejects is neither registered nor served, and the exit code says so.
    """
    from pipelines.display import Display
    from pipelines.loop import run_loop
    from pipelines.report import show_run, show_trained
    from pipelines.settings import RunSettings

    settings = RunSettings(
        out=out,
        dataset=dataset,
        data=data,
        preset=preset,
        seed=seed,
        items=items,
        users=users,
        impressions=impressions,
        max_quarantined=max_quarantined,
        encoder=_encoder_settings(encoder, epochs=epochs, max_steps=max_steps),
        redis=redis,
        registry=registry,
        runner=runner,
    )
    console.print(f"[bold]fairtag run[/] {dataset} into {out} (log: {out}/pipeline.log)", highlight=False)
    try:
        with Display(console) as display:
            report = run_loop(settings, jurisdiction, display.step, force=force, train_only=train_only)
    except FairtagError:
        show_trained(settings.layout, console)
        raise
    if report is None:
        show_trained(settings.layout, console)
        return
    show_run(settings.layout, report, console)


@app.command()
def serve(
    run: Run = Path("runs/demo"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the V1 and V2 REST protocols.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; -1 for none.")] = 8081,
) -> None:
    """Serve the live model of a run over V1 and V2 REST and gRPC until interrupted."""
    from components.adapters.kserve import live_model_folder
    from pipelines.endpoint import command, replace_process
    from pipelines.settings import RunLayout

    layout = RunLayout(run.absolute())
    live_model_folder(layout.root)
    console.print(f"serving {layout.live} on http://{host}:{port}; ask with `fairtag quote QUERY`", highlight=False)
    replace_process(
        command(layout.live, layout.features, layout.serving, http_port=port, grpc_port=grpc_port, host=host)
    )


@app.command()
def quote(
    query: Annotated[str | None, typer.Argument(help="What the customer searched for.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Price these items instead of searching; repeat it.")] = None,
    user: Annotated[str | None, typer.Option(help="Customer id; without one no price is personal.")] = None,
    jurisdiction: Place = None,
    opted_out: Annotated[bool, typer.Option("--opted-out", help="The customer refused personal prices.")] = False,
    page_size: Annotated[int, typer.Option(help="Most items on the page.")] = 24,
    url: Address = "http://127.0.0.1:8080",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask a running endpoint for a priced page: by query, or for items that your own search found."""
    from pipelines.display import page_table
    from pipelines.endpoint import MODEL
    from serving.protocol.client import RestClient

    if (query is None) == (not item):
        raise ConfigError("give either a query or at least one --item")
    request: dict[str, Any] = {"task": "price", "item_ids": item} if item else {"task": "search", "query": query}
    request |= {"user_id": user, "jurisdiction": jurisdiction, "opted_out": opted_out, "page_size": page_size}
    with RestClient(url, MODEL) as client:
        page = client.pages([request])[0]
    if as_json:
        print(json.dumps(page, indent=2))
    else:
        console.print(page_table(request, page, {}))


@app.command()
def verify(
    quote: Annotated[str, typer.Argument(help="The `quote` of a page; - reads it from standard input.")],
    item: Annotated[str, typer.Option(help="Item at checkout.")],
    user: Annotated[str | None, typer.Option(help="Customer at checkout; none if the page had none.")] = None,
    price: Annotated[int | None, typer.Option(help="Price at checkout in minor units; none asks for it.")] = None,
    run: Annotated[Path, typer.Option(help="Run whose keys to use where FAIRTAG_QUOTE_KEYS* names none.")] = Path(
        "runs/demo"
    ),
    url: Annotated[str | None, typer.Option(help="Ask this endpoint instead of reading its keys.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the promise as JSON.")] = False,
) -> None:
    """Check that a quote promises this customer this item at this price. Exit code 9: it is not honoured."""
    from pipelines.endpoint import MODEL
    from pipelines.settings import RunLayout
    from serving.page.quotes import key_settings, verify_quote
    from serving.protocol.client import RestClient

    signed = sys.stdin.read().strip() if quote == "-" else quote
    if url is not None:
        with RestClient(url, MODEL) as client:
            promise = client.verify(signed, item, user_id=user, price_minor=price)
    else:
        settings = key_settings(RunLayout(run.absolute()).serving)
        promise = verify_quote(signed, item, user_id=user, price_minor=price, settings=settings).as_json()
    if as_json:
        print(json.dumps(promise, indent=2))
    else:
        text = "honoured: {item_id} at {price_minor} minor units of {currency} until {expires_at} (quote {quote_id})"
        console.print(text.format(**promise), highlight=False, soft_wrap=True)


@app.command()
def report(
    run: Run = Path("runs/demo"),
    job: Annotated[str, typer.Argument(help="drift, performance, fairness, quality, stock or all.")] = "all",
    window: Annotated[str, typer.Option(help="Length of the window: 90m, 24h, 7d.")] = "24h",
) -> None:
    """Judge the quotes of a run's endpoint. Exit code: 0 pass, 1 warn, 2 page, 3 could not tell."""
    from pipelines.endpoint import replace_process
    from pipelines.loop import monitoring_options
    from pipelines.settings import RunLayout

    options = monitoring_options(RunLayout(run.absolute()), job, window)
    replace_process([sys.executable, "-m", "monitoring", job, *options])


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Name of a study: dominicks, complete-journey, home-depot, ...")],
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets.")] = None,
    save: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Reproduce the figures of a study, each with its interval and what it is held against."""
    from pipelines.studies import run_study

    result = run_study(name, data)
    result.show(console)
    if save:
        console.print(f"written to {result.save(save)}")


@app.command()
def doctor(
    cluster: Annotated[str, typer.Option(help="kind or minikube: what a cluster of that kind needs counts too.")] = "",
) -> None:
    """Check what a run or a cluster needs: processors, memory, disk, packages, tools, ports. Exit code 1: it cannot."""
    from pipelines.doctor import checks, show

    found = checks(cluster)
    show(found, console)
    if any(check.needed and not check.ok for check in found):
        raise typer.Exit(1)


add_commands(app)


def _encoder_settings(text: str, **options: Any) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--encoder {text!r} is no JSON object ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--encoder {text!r} is refused; it must be a JSON object")
    return {**settings, **{name: value for name, value in options.items() if value is not None}}


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; errors are one line, and the exit code tells their kind."""
    warnings.filterwarnings("ignore")  # what the libraries' authors should know; tests turn each into an error
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        code = app(arguments, standalone_mode=False)
    except TyperException as error:  # the command line cannot be read
        print(f"error: {error.format_message()}; --help shows what there is", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # the one place where failures become text
        if os.environ.get("FAIRTAG_DEBUG"):
            traceback.print_exc()
        kind = "error" if isinstance(error, FairtagError) else f"unexpected {type(error).__name__}"
        print(f"{kind}: {error}", file=sys.stderr)
        return exit_code(error)
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
