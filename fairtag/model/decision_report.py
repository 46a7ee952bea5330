"""The decision document as one HTML page with charts, readable offline."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from fairtag.base.files import write_text
from fairtag.base.text import figure
from fairtag.model.decision import capability_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#7a8290"  # axis and label colour that reads on white and on near-black
MARK = "#3b7dd8"
MUTED = "#b9c2cf"


def write_report(path: Path, decision: Mapping[str, Any]) -> Path:
    """Render the decision as one self-contained HTML file: result, gates, charts, figures."""
    environment = Environment(
        loader=PackageLoader("fairtag.model"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["figure"] = figure
    page = environment.get_template("decision.html.j2").render(
        decision=decision,
        capabilities=capability_rows(decision),
        charts=_charts(decision["metrics"].get("charts", {})),
        figures=_figures(decision),
    )
    return write_text(path, page)


def _charts(charts: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Title and inline SVG of each chart that has data."""
    known: dict[str, tuple[str, Callable[[Axes, Any], None]]] = {
        "calibration": ("Demand: predicted against observed purchase rate", _calibration),
        "price_scatter": ("Price model: predicted against true price, held-out products", _price_scatter),
        "price_by_group": ("Price over list price by audited group, with 95 % interval", _price_by_group),
        "uplift": ("Profit per page above list prices, with 95 % interval", _uplift),
        "value": ("Profit per page on the whole randomised log, with 95 % interval", _value),
    }
    return [(title, _svg(draw, charts[name])) for name, (title, draw) in known.items() if charts.get(name)]


def _svg(draw: Callable[[Axes, Any], None], data: Any) -> Markup:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fairtag",  # the same data gives the same bytes
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        draw(figure.subplots(), data)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  # drawn here from numbers and escaped labels


def _calibration(axes: Axes, bins: Sequence[Mapping[str, float]]) -> None:
    predicted = [row["predicted"] for row in bins]
    observed = [row["observed"] for row in bins]
    edge = max(*predicted, *observed) * 1.05
    axes.plot([0, edge], [0, edge], color=MUTED, linewidth=1)
    axes.plot(predicted, observed, marker="o", color=MARK)
    axes.set(xlabel="predicted purchase probability", ylabel="observed purchase rate")


def _price_scatter(axes: Axes, data: Mapping[str, Sequence[float]]) -> None:
    low, high = min(data["true"]), max(data["true"])
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1)
    axes.scatter(data["true"], data["predicted"], s=8, alpha=0.5, color=MARK, linewidths=0)
    axes.set(xscale="log", yscale="log", xlabel="true list price", ylabel="predicted price")


def _price_by_group(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    labels = [f"{row['attribute']}: {row['group']}" for row in rows]
    _intervals(axes, labels, rows)
    axes.set(xlabel="mean price over list price")


def _uplift(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    _intervals(axes, [str(row["policy"]) for row in rows], rows)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set(xlabel="profit per page above list prices")


def _value(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    _intervals(axes, [str(row["policy"]) for row in rows], rows)
    axes.set(xlabel="profit per page")


def _intervals(axes: Axes, labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(rows), 0, -1)
    axes.hlines(places, [row["low"] for row in rows], [row["high"] for row in rows], color=MUTED, linewidth=3)
    axes.plot([row["value"] for row in rows], list(places), "o", color=MARK)
    axes.set_yticks(list(places), labels)


def _figures(decision: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """Rows of (name, challenger's figure, champion's figure)."""
    metrics = decision["metrics"]
    challenger = dict(_flat(metrics.get("challenger") or {}))
    champion = dict(_flat(metrics.get("champion") or {}))
    return [(name, value, champion.get(name)) for name, value in challenger.items()]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name} · ")
        elif not isinstance(value, list):
            rows.append((f"{prefix}{name}".replace("_", " "), value))
    return rows
