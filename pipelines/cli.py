"""``fairtag``: the command line. It parses and prints; the work is done elsewhere."""

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
from rich.markup import escape
from typer.exceptions import TyperException

from benchmarks.command import app as studies
from fairtag.base.errors import INTERRUPTED, ConfigError, DataError, FairtagError, exit_code, legend
from pipelines.api_key import Key, KeyFile, read_key
from pipelines.cli_cluster import add_commands
from pipelines.cli_console import add_command as add_console
from pipelines.cli_custody import add_commands as add_custody
from pipelines.cli_elasticity import add_command as add_elasticity
from pipelines.cli_experiment import app as experiment
from pipelines.cli_keys import app as keys
from pipelines.cli_policy import app as policy
from pipelines.cli_publish import add_publish
from pipelines.cli_stop import add_commands as add_stop
from pipelines.options import spread
from pipelines.settings import RunSettings

HELP = f"""Search results with a fair price for each customer: train, evaluate, serve and monitor a pricing model.

Start with `fairtag run`: the whole loop on a simulated shop, in minutes, without a cluster or an account.
Then `fairtag serve RUN`, and `fairtag quote "wireless drill"` in another terminal.

Exit codes: {legend()}. FAIRTAG_DEBUG=1 shows the traceback of a failure.
"""
EXAMPLE = Path("runs/demo")

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", help=HELP
)
console = Console()

Run = Annotated[Path, typer.Argument(help="Folder of a run, as given to `fairtag run --out`.", metavar="RUN")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@app.command()
@spread("run")
def run(
    settings: RunSettings,
    train_only: Annotated[
        bool, typer.Option("--train-only", help="Stop when an accepted model is live; start no endpoint.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run the pipeline even when nothing changed.")] = False,
) -> None:
    """Run the whole loop on this machine: validate, train, evaluate; serve, quote and monitor an accepted model.

    It is the pipeline that Kubeflow runs, each step in a process of its own. A model that the decision rejects is
    neither registered nor served, and the exit code is 5.
    """
    from pipelines.display import Display, show_run, show_trained
    from pipelines.loop import run_loop
    from pipelines.preflight import require_startable

    require_startable(settings)
    out = settings.local.out or settings.folder.root.relative_to(Path.cwd())
    console.print(
        f"[bold]fairtag run[/] {settings.data.dataset} into {escape(str(out))} (log: {escape(str(out))}/pipeline.log)",
        highlight=False,
    )
    try:
        with Display(console) as display:
            report = run_loop(settings, display.step, force=force, train_only=train_only)
    except FairtagError:
        show_trained(settings.folder, console)
        raise
    if report is None:
        show_trained(settings.folder, console)
    else:
        show_run(settings.folder, report, console)


@app.command()
def check(
    tables: Annotated[str | None, typer.Argument(help="Folder of the tables or exports.", metavar="TABLES")] = None,
    dataset: Annotated[
        str, typer.Option(help="Reader, as of `fairtag run --dataset`; csv or parquet by the files when left out.")
    ] = "",
    max_quarantined: Annotated[
        float, typer.Option(help="Largest share of a table's rows that may break a critical rule.", min=0, max=1)
    ] = 0.05,
    near_titles: Annotated[
        float | None,
        typer.Option(
            help="Similarity from which on two titles are nearly the same, 1 for equal ones; without it that of "
            "`near_titles` of --evaluation.",
            min=0.1,
            max=1,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read and validate every table in seconds, train nothing, and say what the tables are enough for.

    All problems of all tables are shown at once. Exit code 3: a run would refuse a table.
    """
    from pipelines.check import check_shop
    from pipelines.display import show_check
    from pipelines.preflight import require_here

    require_here(tables)
    report = check_shop(dataset, Path(tables) if tables else None, max_quarantined, near_titles)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, default=str))
    else:
        show_check(report, console)
    if report.refused:
        raise typer.Exit(exit_code(DataError("")))


@app.command()
def intake(
    data: Annotated[Path | None, typer.Option(help="Folder of the exports.")] = None,
    mapping: Annotated[
        str,
        typer.Option("--map", help="shopify, woocommerce, magento, google-merchant, or a file of your own."),
    ] = "shopify",
    out: Annotated[Path | None, typer.Option(help="Folder that the tables are written to, as parquet.")] = None,
    show_map: Annotated[bool, typer.Option("--show-map", help="Print the mapping, to copy and change it.")] = False,
) -> None:
    """Turn the exports of a shop system into tables, by a mapping that a shop can copy and change.

    Then `fairtag check OUT` and `fairtag run --dataset parquet --data OUT`.
    """
    from fairtag.base.tables import write_tables
    from fairtag.data.feed_map import PACKAGED, map_text, read_map
    from fairtag.data.feeds import read_feed
    from pipelines.display import show_intake

    if show_map:
        read_map(mapping)
        print(map_text(mapping) if mapping in PACKAGED else Path(mapping).read_text(encoding="utf-8"), end="")
        return
    if data is None or out is None:
        raise ConfigError("name the folder of the exports with --data, and the folder to write with --out")
    if out.is_file():
        raise ConfigError(f"--out {out}: it is a file; choose a folder")
    if out.exists() and any(out.iterdir()) and not (out / "metadata.json").is_file():
        raise ConfigError(f"--out {out}: the folder holds other files; choose another")
    tables = read_feed(data, read_map(mapping))
    write_tables(tables, out)
    show_intake(tables, out, console)


@app.command()
def serve(
    run: Run = EXAMPLE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the V1 and V2 REST protocols.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; -1 for none.")] = 8081,
) -> None:
    """Serve the live model of a run over V1 and V2 REST and gRPC until interrupted."""
    from components.adapters.kserve import live_model_folder
    from pipelines.endpoint import command, replace_process
    from pipelines.run_folder import RunFolder
    from serving.ports import require_free

    folder = RunFolder(run.absolute())
    live_model_folder(folder.root)
    require_free(host, port, grpc_port)
    console.print(f"loading {escape(str(folder.live))}; it says so when it serves", highlight=False, soft_wrap=True)
    replace_process(
        command(folder.live, folder.features, folder.serving, http_port=port, grpc_port=grpc_port, host=host)
    )


@app.command()
def quote(
    query: Annotated[str | None, typer.Argument(help="What the customer searched for.")] = None,
    item: Annotated[
        list[str] | None, typer.Option(help="Price this item instead of searching; repeat it for several.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Customer id; without one no price is personal.")] = None,
    jurisdiction: Annotated[
        str | None, typer.Option(help="Where the customer is (DE, US-NY); without it no price is personal.")
    ] = None,
    opted_out: Annotated[bool, typer.Option("--opted-out", help="The customer refused personal prices.")] = False,
    page_size: Annotated[
        int | None, typer.Option(help="Most items on the page; by default 24 of a search, and every --item.")
    ] = None,
    url: Annotated[str, typer.Option(help="Address of the endpoint.")] = "http://127.0.0.1:8080",
    api_key: Key = None,
    key_file: KeyFile = None,
    html: Annotated[Path | None, typer.Option(help="Write the page to this file as HTML.", metavar="FILE")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every item of the page, not only the first.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a running endpoint for a priced page: for a query, or for items that your own search found."""
    from pipelines.display import SHOWN_ITEMS, page_table
    from pipelines.endpoint import MODEL, reachable
    from pipelines.results_page import write_results_page
    from serving.protocol.client import RestClient

    if (query is None) == (not item):
        raise ConfigError("give either a query or at least one --item")
    request: dict[str, Any] = {"task": "price", "item_ids": item} if item else {"task": "search", "query": query}
    request |= {"user_id": user, "jurisdiction": jurisdiction, "opted_out": opted_out}
    if page_size is not None:
        request["page_size"] = page_size
    with reachable(url), RestClient(url, MODEL, api_key=read_key(key_file, api_key)) as client:
        page = client.pages([request])[0]
    if html:
        written = write_results_page(html, request, page)
        print(f"written to {written}", file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(page, indent=2))
    elif not html:
        most = None if every else SHOWN_ITEMS
        console.print(page_table(request, page, most=most, remedy="--all shows them"))


@app.command()
def verify(
    quote: Annotated[str, typer.Argument(help="The `quote` of a page; - reads it from standard input.")],
    item: Annotated[str, typer.Option(help="Item at checkout.")],
    user: Annotated[str | None, typer.Option(help="Customer at checkout; none if the page had none.")] = None,
    price: Annotated[int | None, typer.Option(help="Price at checkout in minor units; without it, any price.")] = None,
    run: Annotated[
        Path, typer.Option(help="Run whose keys to use when FAIRTAG_QUOTE_KEYS* names none.", metavar="RUN")
    ] = EXAMPLE,
    url: Annotated[str | None, typer.Option(help="Ask this endpoint instead of reading its keys.")] = None,
    api_key: Key = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Check that a quote promises this customer this item at this price. Exit code 9: it does not."""
    from pipelines.endpoint import MODEL, reachable
    from pipelines.run_folder import RunFolder
    from serving.page.quotes import key_settings, verify_quote
    from serving.protocol.client import RestClient

    signed = sys.stdin.read().strip() if quote == "-" else quote
    if url is not None:
        with reachable(url), RestClient(url, MODEL, api_key=read_key(key_file, api_key)) as client:
            verified = client.verify(signed, item, user_id=user, price_minor=price)
    else:
        settings = key_settings(RunFolder(run.absolute()).serving)
        verified = verify_quote(signed, item, user_id=user, price_minor=price, settings=settings).as_json()
    if as_json:
        print(json.dumps(verified, indent=2))
    else:
        text = "honoured: {item_id} at {price_minor} minor units of {currency} until {expires_at} (quote {quote_id})"
        console.print(text.format(**verified), highlight=False, soft_wrap=True)


@app.command()
def report(
    run: Run = EXAMPLE,
    job: Annotated[str, typer.Argument(help="drift, performance, fairness, quality, stock or all.")] = "all",
    window: Annotated[str, typer.Option(help="Length of the window: 90m, 24h, 7d.")] = "24h",
) -> None:
    """Run monitoring over the quotes of a run's endpoint. Exit code: 0 pass, 1 warn, 2 urgent, 3 unknown."""
    from pipelines.endpoint import replace_process
    from pipelines.loop import monitoring_options
    from pipelines.run_folder import RunFolder

    options = monitoring_options(RunFolder(run.absolute()), job, window)
    replace_process([sys.executable, "-m", "monitoring", job, "--progress", *options])


app.add_typer(policy, name="policy", help="Check, try, apply and take back what the shop allows (docs/policy.md).")
app.add_typer(keys, name="keys", help="Rotate an endpoint's keys in two phases, while it serves.")
app.add_typer(experiment, name="experiment", help="Plan, read and stop live tests of new prices.")
app.add_typer(studies, name="study", help="Reproduce the figures of a study or benchmark; --list shows them.")


@app.command()
def doctor(
    cluster: Annotated[
        str, typer.Option(help="kind, minikube: what making one needs. live: the cluster of kubectl.")
    ] = "",
    overlay: Annotated[
        Path | None, typer.Option(help="Check this overlay of k8s/ instead: addresses left open, images by tag.")
    ] = None,
) -> None:
    """Check what a run or a cluster needs (processors, memory, packages, tools, ports), a cluster, or an overlay.

    Exit code 1: something is missing.
    """
    from pipelines.doctor import checks, show
    from pipelines.overlay import overlay_checks

    found = checks(cluster) if overlay is None else overlay_checks(overlay)
    show(found, console)
    if any(check.needed and not check.ok for check in found):
        raise typer.Exit(1)


add_commands(app)
add_elasticity(app)
add_stop(app)
add_console(app)
add_custody(app)
add_publish(app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; an error is one line, and the exit code is that of its kind."""
    warnings.filterwarnings("ignore")  # they are for the libraries' authors; tests turn each into an error
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        code = app(arguments, standalone_mode=False)
    except TyperException as error:  # the command line cannot be read
        print(f"error: {error.format_message()}; see --help", file=sys.stderr)
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
