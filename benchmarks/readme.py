"""The README's table of measured figures, made from committed results: no figure is typed by hand.

``python -m benchmarks.readme`` writes the table between the two markers of README.md from ``benchmarks/results``,
``python -m benchmarks.readme --check`` exits 1 when it differs. A result is the JSON that ``--out`` wrote, with the
command that made it; a line whose result or row is absent is refused, not left out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fairtag.base.errors import DataError, FairtagError, MissingDataError
from fairtag.base.files import read_json, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FIGURE = re.compile(r"\{(?P<metric>[\w.]+)(?P<interval>\[\])?(?::(?P<format>[^}]*))?\}")
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        what: What is measured, in words.
        result: Name of the result it comes from.
        figure: Text with ``{metric:.3f}`` for a row's value and ``{metric[]:.3f}`` for the value with its interval.
    """

    what: str
    result: str
    figure: str


LINES = (
    Line(
        "orange juice, elasticity with brand effects / brand x store / and promotion",
        "dominicks",
        "{elasticity_brand:.3f} / {elasticity_brand_store:.3f} / {elasticity_brand_store_promo:.3f}",
    ),
    Line(
        "the same by brand, the least and the most sensitive",
        "dominicks",
        "{elasticity_least_of_brands:.2f} / {elasticity_greatest_of_brands:.2f}",
    ),
    Line(
        "learned prices on held-out weeks, profit over the shop's own prices, within 10 % of them",
        "dominicks",
        "{profit_learned_within_limit_over_shop[]:.3f}",
    ),
    Line(
        "the same over one best price per brand: no gain over one good price",
        "dominicks",
        "{profit_learned_within_limit_over_uniform[]:.3f}",
    ),
    Line(
        "demand forecast, weighted pinball loss over seasonal naive with our spread; with its own intervals",
        "online-retail",
        "{ours_over_naive_same_spread[]:.3f}; {ours_over_naive_library[]:.3f}",
    ),
    Line(
        "grocery receipts, demand calibration slope on weeks 43-53, observational",
        "complete-journey",
        "{calibration_slope[]:.3f}; of the response to price alone {price_slope[]:.2f}",
    ),
    Line(
        "order of search results, nDCG@10 on unseen terms of a hardware shop: ours / untuned encoder / BM25",
        "home-depot",
        "{ndcg10:.3f} / {ndcg10_minilm:.3f} / {ndcg10_bm25:.3f}; gain over the untuned encoder "
        "{ndcg10_gain_over_minilm[]:.4f}",
    ),
    Line(
        "the same, MRR; and error of the grade (RMSE) against overlap features with boosting",
        "home-depot",
        "{mrr:.3f} / {mrr_minilm:.3f} / {mrr_bm25:.3f}; {rmse:.3f} / {rmse_overlap:.3f}",
    ),
    Line(
        "students of three / two of its six layers, the same terms: nDCG@10 that each loses; speed of a query",
        "home-depot-student",
        "{ndcg10_lost_by_student_3_layers[]:.4f} / {ndcg10_lost_by_student_2_layers[]:.4f}; "
        "{speedup_student_3_layers:.1f} / {speedup_student_2_layers:.1f} times",
    ),
    Line(
        "price of unseen products, RMSLE, ours / TF-IDF ridge / category median, Walmart-Amazon pairs",
        "price-regression",
        "{walmart_amazon_rmsle:.3f} / {walmart_amazon_rmsle_tfidf_ridge:.3f} / "
        "{walmart_amazon_rmsle_category_median:.3f}",
    ),
    Line(
        "the same, online retail; and the share of prices inside the 90 % interval, of the two",
        "price-regression",
        "{online_retail_rmsle:.3f} / {online_retail_rmsle_tfidf_ridge:.3f} / "
        "{online_retail_rmsle_category_median:.3f}; {walmart_amazon_coverage:.3f}, {online_retail_coverage:.3f}",
    ),
    Line(
        "drift on real receipts: weeks of 36 (groceries), months of 8 (online retail) that page",
        "drift-real",
        "{complete_journey_page:.0f}; {online_retail_page:.0f}, {online_retail_retrained_page:.0f} when trained again "
        "(docs/operations.md)",
    ),
    Line(
        "100 quiet days of hourly looks at drift, performance and fairness: pages; warnings (worse traffic), simulated",
        "detection",
        "{quiet_pages_100_days:.0f}; {quiet_warnings_100_days:.0f}",
    ),
    Line(
        "one category 2 / 5 / 10 % dearer, seen within a day; hours to the first alarm at 100 pages an hour",
        "detection",
        "{power_price_2_percent:.0%} / {power_price_5_percent:.0%} / {power_price_10_percent:.0%}; "
        "{hours_price_2_percent_low:.0f} / {hours_price_5_percent_low:.0f} / {hours_price_10_percent_low:.0f}",
    ),
    Line(
        "a group pays 1 / 2 / 3 % more, the same",
        "detection",
        "{power_gap_1_percent:.0%} / {power_gap_2_percent:.0%} / {power_gap_3_percent:.0%}; "
        "{hours_gap_1_percent_low:.0f} / {hours_gap_2_percent_low:.0f} / {hours_gap_3_percent_low:.0f}",
    ),
    Line(
        "new words in 10 / 30 % of searches; similarity constant; a tenth of costs a hundredfold, the same",
        "detection",
        "{power_words_10_percent:.0%} / {power_words_30_percent:.0%}; {power_broken_similarity:.0%}; "
        "{power_broken_cost:.0%}; {hours_words_10_percent_low:.0f} / {hours_words_30_percent_low:.0f}; "
        "{hours_broken_similarity_low:.0f}; {hours_broken_cost_low:.0f}",
    ),
    Line(
        "price slopes of demand x 1.5 / x 2 / x 3, seen within a week at 100 pages an hour; at 400",
        "detection",
        "{power_elasticity_x1.5_low:.0%} / {power_elasticity_x2_low:.0%} / {power_elasticity_x3_low:.0%}; "
        "{power_elasticity_x1.5_high:.0%} / {power_elasticity_x2_high:.0%} / {power_elasticity_x3_high:.0%}",
    ),
    Line(
        "drift job over a day of 10M quotes, one thread: rows a second, memory of the pass; Evidently on its sample",
        "monitoring",
        "{sums_and_sketches_rows_per_second:,.0f}, {memory_of_the_pass:.0f} MB; {evidently_sample_seconds:.0f} s",
    ),
    Line(
        "simulated shop, planted parameters, largest error at 100k impressions",
        "synthetic",
        "{exogenous_largest_error:.2f} standard errors; {endogenous_without_control_function_largest_error:.1f} "
        "without the control function when prices are endogenous",
    ),
    Line(
        "share of the oracle's uplift learned from 20k impressions, pages of 8",
        "synthetic",
        "{oracle_uplift_share_20000[]:.3f}",
    ),
    Line(
        "the same on pages of 24, a fourth of the purchases / told the planted spreads / with 90k impressions",
        "synthetic",
        "{oracle_uplift_share_20000_page_of_24:.3f} / {oracle_uplift_share_20000_page_of_24_known_spreads:.3f} / "
        "{oracle_uplift_share_90000_page_of_24:.3f}",
    ),
    Line(
        "profit over one learned price for all after 1,000 impressions, mean of 20 shops, simulated",
        "synthetic",
        "{profit_over_learned_uniform_1000[]:+.3f}",
    ),
    Line(
        "uplift kept under a corridor of 1.05 / 1.10 / 1.25 / 1.50, simulated",
        "fairness",
        "{kept_rho_1.05:.2f} / {kept_rho_1.10:.2f} / {kept_rho_1.25:.2f} / {kept_rho_1.50:.2f}",
    ),
    Line(
        "false alarms of hourly looks over three days, sequential / fixed test, at a nominal 5 %, simulated",
        "fairness",
        "{peeking_false_alarm_sequential:.1%} / {peeking_false_alarm_fixed:.1%}",
    ),
    Line(
        "live test of learned prices, read daily: false decisions, sequential / fixed test; days to ship, simulated",
        "ab-test",
        "{false_decision_sequential:.1%} / {false_decision_fixed:.1%}; {days_to_ship:.0f}",
    ),
    Line(
        "encoding 12 tokens, one thread, PyTorch / ONNX Runtime fp32 / int8; cosine of int8 and nDCG@10 it loses, "
        "simulated",
        "encoder",
        "{torch_12tokens_1thread_p50:.1f} / {fp32_12tokens_1thread_p50:.1f} / {int8_12tokens_1thread_p50:.1f} ms; "
        "{int8_mean_cosine:.3f}, {int8_ndcg10_lost:.4f}",
    ),
    Line(
        "fine-tuning an encoder of MiniLM's size on a CPU: tokens a second over sentence-transformers' own Trainer; "
        "rate at four micro-batches a step over one",
        "encoder-training",
        "{minilm_over_sentence_transformers:.2f}; {minilm_rate_at_accumulation_4:.2f}",
    ),
    Line(
        "endpoint, 100k items, pages of 24: median of a lone request over the sum of its parts; at 32 in flight, pages "
        "a second over those of its core with no server in front, and over FastAPI / LitServe / BentoML / MLServer",
        "serving",
        "{p50_over_parts:.2f}; {throughput_over_core:.2f}; {throughput_over_fastapi:.2f} / "
        "{throughput_over_litserve:.2f} / {throughput_over_bentoml:.2f} / {throughput_over_mlserver:.2f}",
    ),
    Line(
        "the same with two helper processes over LitServe with two workers; memory of each",
        "serving",
        "{two_helpers_over_litserve_two_workers:.2f}; {fairtag_two_helpers_memory_mb:.0f} / "
        "{litserve_two_workers_memory_mb:.0f} MB",
    ),
    Line(
        "the same, 99th percentile over the best of them; start to ready; memory; share of feature reads, before and "
        "after the cache",
        "serving",
        "{p99_over_best_peer:.2f}; {cold_start_seconds:.0f} s; {memory_mb:.0f} MB; {feature_share_uncached:.2f}, "
        "{feature_share_cached:.2f}",
    ),
    Line(
        "first 100 of 100k embeddings, exact scan / 4-bit codes, 1,000 candidates / HNSW; recall of the latter two",
        "search-index",
        "{scan_p50:.1f} / {codes_10_p50:.1f} / {hnsw_p50:.1f} ms; {codes_10_recall:.3f}, {hnsw_recall:.3f}",
    ),
    Line(
        "a million items: time to find and price a page over that of 100k; recall of the exact first 100; memory",
        "serving",
        "{page_many_over_base:.2f}; {recall_at_100_many:.3f}; {many_memory_mb:.0f} MB",
    ),
    Line(
        "ten minutes at saturation: pages, failed requests, growth of memory",
        "serving-soak",
        "{pages:,.0f}, {failed:.0f}, {memory_growth:+.1%}",
    ),
    Line(
        "requests that nobody would send, over HTTP and gRPC: answered within a minute; with an error of the server",
        "serving-fuzz",
        "{cases:,.0f}; {server_errors:.0f}",
    ),
    Line(
        "one page of 24 prices, exact, interval / menu of 32 price endings",
        "solver",
        "{page_24_interval:.2f} / {page_24_menu:.2f} ms",
    ),
    Line(
        "Adam's time over ours, a batch / one page; profit Adam loses on pages with several optima, mean / worst",
        "solver",
        "{adam_over_exact_time:.0f} / {adam_over_exact_time_page:.0f}; {adam_anchored_value_lost:.2%} / "
        "{adam_anchored_value_lost_worst:.1%}",
    ),
    Line(
        "demand fit, 1M impressions x 60 parameters, one thread; times statsmodels' time at the size it can do",
        "demand",
        "{fit_1m_impressions_60_parameters:.0f} s, {memory_on_top_of_data:.0f} MB beside the data; "
        "1/{statsmodels_over_fairtag_time:.0f}",
    ),
)


def table(results: Path = RESULTS, lines: tuple[Line, ...] = LINES) -> str:
    """The table in Markdown.

    Raises:
        MissingDataError: A result or a row that a line names is absent.
    """
    head = ["| what | figure | command |", "| --- | --- | --- |"]
    return "\n".join([*head, *(_row(line, results) for line in lines)])


def _row(line: Line, results: Path) -> str:
    file = results / f"{line.result}.json"
    if not file.is_file():
        raise MissingDataError(f"{file}: no such result; make it with python -m benchmarks {line.result} --out DIR")
    result = read_json(file)
    rows = {row["metric"]: row for row in result["rows"]}
    figure = FIGURE.sub(lambda found: _figure(found, rows, file), line.figure)
    return f"| {line.what} | {figure} | `{result['command']}` |"


def _figure(found: re.Match[str], rows: dict[str, dict[str, Any]], file: Path) -> str:
    row = rows.get(found["metric"])
    if row is None:
        raise MissingDataError(f"{file}: no row {found['metric']}; it holds {', '.join(rows)}")
    shown = found["format"] or ".3g"
    value = format(row["value"], shown)
    if not found["interval"]:
        return value
    return f"{value} [{format(row['low'], shown)}, {format(row['high'], shown)}]"


def placed(text: str, content: str) -> str:
    """A document with the content between the markers.

    Raises:
        DataError: The document has not exactly one pair of markers, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise DataError(f"the document needs one line {BEGIN} and, below it, one line {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


@app.command()
def main(*, check: bool = typer.Option(False, help="Write nothing; exit 1 when the table is another.")) -> None:
    """Bring the README's table up to the committed results."""
    try:
        text = README.read_text(encoding="utf-8")
        made = placed(text, table())
    except FairtagError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if check and made != text:
        typer.echo("README.md: the measured table differs from benchmarks/results; run python -m benchmarks.readme")
        raise typer.Exit(1)
    if not check:
        write_text(README, made)


if __name__ == "__main__":
    sys.exit(app())
