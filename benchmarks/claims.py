"""Every figure that README.md and docs/benchmarks.md state, with the result and the row it is read from.

A text holds ``{metric:.3f}`` for a row's value and ``{metric[]:.3f}`` for the value with its interval; a percentage is
written ``{metric:.0%}``. :mod:`benchmarks.measured` fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of a table.

    Args:
        what: What was measured, understandable without the lines around it.
        data: What it was measured on; may hold figures too.
        result: Name of the result that holds the figure.
        figure: The figure with its unit.
        against: What to compare it with: a baseline, a bound, a planted value.
    """

    what: str
    data: str
    result: str
    figure: str
    against: str


@dataclass(frozen=True)
class Group:
    """Claims of one subject, and how they may be read.

    Args:
        title: Heading.
        reading: What a reader may conclude, and what not.
        claims: The lines.
    """

    title: str
    reading: str
    claims: tuple[Claim, ...]


JUICE = "orange juice, 11 brands in 83 stores"
GROCERIES = "grocery receipts, weeks 43-53 held out"
HARDWARE = "search terms of a hardware shop, held out by term"
LISTINGS = "Walmart and Amazon listings, a fifth of the products held out"
RETAIL = "online retail invoices"
SHOP = "simulated shop"
SERVED = "100,000 items, pages of 24"

JUICE_PROFIT = Claim(
    "Profit at learned prices over the shop's own, no price moved by more than 10 %",
    JUICE + ", weeks held out",
    "dominicks",
    "{profit_learned_within_limit_over_shop[]:.3f} times",
    "1: the shop's own prices",
)
GROCERY_CALIBRATION = Claim(
    "Calibration slope of predicted purchases",
    GROCERIES,
    "complete-journey",
    "{calibration_slope[]:.3f}",
    "1: perfectly calibrated",
)
HARDWARE_ORDER = Claim(
    "Order of search results, nDCG@10",
    HARDWARE,
    "home-depot",
    "{ndcg10[]:.3f}",
    "untuned MiniLM {ndcg10_minilm:.3f}, BM25 {ndcg10_bm25:.3f}, no order at all {ndcg10_mean:.3f}",
)
UNSEEN_PRICE = Claim(
    "Price of products never seen, root mean squared log error",
    LISTINGS,
    "price-regression",
    "{walmart_amazon_rmsle[]:.3f}",
    "TF-IDF ridge {walmart_amazon_rmsle_tfidf_ridge:.3f}, category median {walmart_amazon_rmsle_category_median:.3f}",
)
RECOVERY = Claim(
    "Planted demand parameters recovered although the shop's prices follow demand: largest error",
    SHOP + ", 100,000 impressions",
    "synthetic",
    "{endogenous_largest_error:.1f} standard errors",
    "at most 4; {endogenous_without_control_function_largest_error:.1f} without the control function",
)
UPLIFT = Claim(
    "Share of the best possible profit gain that learned prices reach",
    SHOP + ", 20,000 impressions, pages of 8",
    "synthetic",
    "{oracle_uplift_share_20000[]:.3f}",
    "1: prices of an oracle that knows the planted demand",
)
CORRIDOR = Claim(
    "Profit gain over list that is kept when nobody pays more than 25 % above anybody else",
    SHOP + ", held-out pages",
    "fairness",
    "{kept_rho_1.25[]:.3f}",
    "at least 0.93; 1: the same prices without a corridor",
)
DRIFT = Claim(
    "Prices of one category rise by 2 % / 5 %: detected within a day at 100 pages an hour",
    SHOP,
    "detection",
    "{power_price_2_percent_low[]:.0%} / {power_price_5_percent_low[]:.0%} of 12 runs (90 % intervals)",
    "{quiet_urgent_100_days:.0f} urgent alerts in 100 days without a change",
)
THROUGHPUT = Claim(
    "Endpoint with 32 requests in flight: priced pages a second",
    SERVED + ", 2 shared cores",
    "serving",
    "{fairtag_throughput_c32:.0f}",
    "the same model behind LitServe {litserve_throughput_c32:.0f}, MLServer {mlserver_throughput_c32:.0f}, BentoML "
    "{bentoml_throughput_c32:.0f}, FastAPI {fastapi_throughput_c32:.0f}",
)
SOLVER = Claim(
    "Exact optimal prices of one page of 24 items",
    "drawn pages, one thread",
    "solver",
    "{page_24_interval:.2f} ms",
    "Adam, 200 steps: {adam_over_exact_time_page:.0f} times as long",
)
DEMAND_FIT = Claim(
    "Fit of the demand model: 1 million impressions, 60 parameters",
    "drawn choices, one thread",
    "demand",
    "{fit_1m_impressions_60_parameters:.1f} s",
    "statsmodels at 12,000 rows, 10 parameters: {statsmodels_over_fairtag_time:.0f} times as long",
)
HEADLINES = (
    GROCERY_CALIBRATION,
    HARDWARE_ORDER,
    UNSEEN_PRICE,
    RECOVERY,
    UPLIFT,
    CORRIDOR,
    DRIFT,
    THROUGHPUT,
    SOLVER,
    DEMAND_FIT,
)

GROUPS = (
    Group(
        "Real data: demand",
        "The elasticities agree with values computed independently, and predicted purchases hold on later weeks. "
        "Shops set these prices, no experiment did: do not read the figures as causal effects. The juice margins are "
        "book margins, and weekly sales show no store traffic, rivals or stockpiling: do not read the profit as money "
        "that the shop left on the table.",
        (
            Claim(
                "Own-price elasticity with brand effects",
                JUICE,
                "dominicks",
                "{elasticity_brand[]:.3f}",
                "-2.92: computed independently when the data set was prepared",
            ),
            Claim(
                "Own-price elasticity with effects of brand x store",
                JUICE,
                "dominicks",
                "{elasticity_brand_store[]:.3f}",
                "-3.10: computed independently when the data set was prepared",
            ),
            Claim(
                "Own-price elasticity with effects of brand x store, deals and features",
                JUICE,
                "dominicks",
                "{elasticity_brand_store_promo[]:.3f}",
                "-2.53: computed independently when the data set was prepared",
            ),
            Claim(
                "Own-price elasticity of the least / the most price-sensitive brand",
                JUICE,
                "dominicks",
                "{elasticity_least_of_brands:.2f} / {elasticity_greatest_of_brands:.2f}",
                "-1.41 / -4.06: computed independently when the data set was prepared",
            ),
            JUICE_PROFIT,
            Claim(
                "Profit at learned prices by store and week over one learned price a brand, no price moved by more "
                "than 10 %",
                JUICE + ", weeks held out",
                "dominicks",
                "{profit_learned_within_limit_over_uniform[]:.3f} times",
                "1: no gain. The gain over the shop comes from the level of prices, not from adapting them",
            ),
            GROCERY_CALIBRATION,
            Claim(
                "Calibration slope of the response to price alone",
                GROCERIES,
                "complete-journey",
                "{price_slope[]:.2f}",
                "1: perfectly calibrated",
            ),
            Claim(
                "Log loss of a page",
                GROCERIES,
                "complete-journey",
                "{log_loss:.4f} nats",
                "the same model with one price for all: {log_loss_items_no_price:.4f}; a constant: "
                "{log_loss_constant:.4f}",
            ),
        ),
    ),
    Group(
        "Real data: search",
        "The served re-ranker orders real products for real queries a little better than BM25 and an untuned encoder "
        "do, on terms that no part of it has seen. The data set holds a few judged products for each term, so it says "
        "nothing about finding candidates and leaves little room at the top: compare the score of no order at all.",
        (
            HARDWARE_ORDER,
            Claim(
                "Gain in nDCG@10 over the untuned encoder / over BM25, paired by term",
                HARDWARE,
                "home-depot",
                "{ndcg10_gain_over_minilm[]:.4f} / {ndcg10_gain_over_bm25[]:.4f}",
                "0: no gain",
            ),
            Claim(
                "Mean reciprocal rank of the first relevant product",
                HARDWARE,
                "home-depot",
                "{mrr[]:.3f}",
                "untuned MiniLM {mrr_minilm:.3f}, BM25 {mrr_bm25:.3f}",
            ),
            Claim(
                "Error of the predicted relevance, RMSE on the raters' scale of 1 to 3",
                HARDWARE,
                "home-depot",
                "{rmse[]:.3f}",
                "boosted word overlaps {rmse_overlap:.3f}, the mean grade {rmse_mean:.3f}",
            ),
            Claim(
                "Loss in nDCG@10 of a student with three of the encoder's six layers",
                HARDWARE,
                "home-depot-student",
                "{ndcg10_lost_by_student_3_layers[]:.4f}",
                "a query is encoded {speedup_student_3_layers:.1f} times as fast",
            ),
            Claim(
                "Loss in nDCG@10 of a student with two of the encoder's six layers",
                HARDWARE,
                "home-depot-student",
                "{ndcg10_lost_by_student_2_layers[]:.4f}",
                "a query is encoded {speedup_student_2_layers:.1f} times as fast",
            ),
        ),
    ),
    Group(
        "Real data: price model",
        "From text and category alone, f(v) estimates the price of a product it has never seen better than simple "
        "baselines, and its 90 % interval holds about 90 % of the prices. An error of 0.5 on the log scale is a factor "
        "of about 1.7: f(v) is an anchor for demand, not a price tag.",
        (
            UNSEEN_PRICE,
            Claim(
                "Share of true prices inside the 90 % interval",
                LISTINGS,
                "price-regression",
                "{walmart_amazon_coverage:.1%}",
                "90 %",
            ),
            Claim(
                "Price of products never seen, root mean squared log error",
                RETAIL + ", a fifth of the products held out",
                "price-regression",
                "{online_retail_rmsle[]:.3f}",
                "TF-IDF ridge {online_retail_rmsle_tfidf_ridge:.3f}, category median "
                "{online_retail_rmsle_category_median:.3f}",
            ),
            Claim(
                "Share of true prices inside the 90 % interval",
                RETAIL + ", a fifth of the products held out",
                "price-regression",
                "{online_retail_coverage:.1%}",
                "90 %",
            ),
        ),
    ),
    Group(
        "Real data: forecasting",
        "Next week's demand is forecast with less loss than by the seasonal naive rule. It is one year of one "
        "wholesaler: no yearly season could be learned, the held-out weeks run into Christmas, and bulk orders cannot "
        "be foreseen, so the loss stays high for every method.",
        (
            Claim(
                "Weighted pinball loss of the demand forecast over that of seasonal naive with our spread",
                RETAIL + ", last 8 weeks held out",
                "online-retail",
                "{ours_over_naive_same_spread[]:.3f} times",
                "1: no better than last week's sales; only the level differs",
            ),
            Claim(
                "Weighted pinball loss of the demand forecast over that of seasonal naive with its own intervals",
                RETAIL + ", last 8 weeks held out",
                "online-retail",
                "{ours_over_naive_library[]:.3f} times",
                "1: no better than the library's intervals",
            ),
            Claim(
                "Share of item-weeks whose demand stays at or below the forecast's 0.95 quantile",
                RETAIL + ", last 8 weeks held out",
                "online-retail",
                "{coverage_of_quantile_0.95:.1%}",
                "95 %",
            ),
        ),
    ),
    Group(
        "Simulated shop",
        "Here the truth is known: the estimator finds what was planted, and its prices come near the best possible. "
        "The planted demand has the model's own form, so do not take these gains as a forecast for a real shop.",
        (
            Claim(
                "Planted demand parameters recovered from random prices: largest error",
                SHOP + ", 100,000 impressions",
                "synthetic",
                "{exogenous_largest_error:.1f} standard errors",
                "at most 4",
            ),
            RECOVERY,
            UPLIFT,
            Claim(
                "Share of the best possible profit gain that learned prices reach, pages of 24",
                SHOP + ", 20,000 impressions with a fourth as many purchases",
                "synthetic",
                "{oracle_uplift_share_20000_page_of_24[]:.3f}",
                "{oracle_uplift_share_20000_page_of_24_known_spreads:.3f} when told how much the planted effects vary",
            ),
            Claim(
                "Share of the best possible profit gain that learned prices reach, pages of 24",
                SHOP + ", 90,000 impressions",
                "synthetic",
                "{oracle_uplift_share_90000_page_of_24[]:.3f}",
                "1: prices of an oracle that knows the planted demand",
            ),
            Claim(
                "Calibration slope of a small shop: 112 items, 500 / 2,500 pages",
                "planted shops, mean of 8",
                "small-shops",
                "{slope_112_items_4000_impressions[]:.2f} / {slope_112_items_20000_impressions[]:.2f}",
                "0.9 to 1.1; 20 items, 250 pages: {slope_20_items_2000_impressions:.2f}",
            ),
            Claim(
                "Share of the best possible profit gain that a small shop's learned prices reach: 500 / 2,500 pages",
                "planted shops of 112 items, mean of 8",
                "small-shops",
                "{kept_112_items_4000_impressions[]:.2f} / {kept_112_items_20000_impressions[]:.2f}",
                "1: prices of an oracle; 3,000 items, 25,000 pages: {kept_3000_items_200000_impressions:.2f}",
            ),
            Claim(
                "Profit gain of learned prices over one learned price ratio for all, after 1,000 impressions",
                SHOP + ", mean of 20 shops",
                "synthetic",
                "{profit_over_learned_uniform_1000[]:+.1%}",
                "at least -1 %: little data must do no harm",
            ),
        ),
    ),
    Group(
        "Fairness and experiments",
        "The corridor's rows show what a limit on price differences costs. The test rows show that looking every hour "
        "or every day raises no false alarms. The cost of a corridor depends on how much customers differ, and these "
        "customers are simulated: measure your own before you choose a width.",
        (
            CORRIDOR,
            Claim(
                "Profit of learned prices above list, one price an item and day",
                SHOP + ", held-out pages, planted demand",
                "fairness",
                "{uplift_over_list[]:.1%}",
                "{uniform_over_list[]:.1%} with the best single discount, chosen in hindsight on the same pages",
            ),
            Claim(
                "Profit of learned prices above list, one price an item",
                "three of the demo's shops, later pages, planted demand",
                "uplift-parts",
                "{served[]:.1%}",
                "{oracle[]:.1%} at the prices of an oracle; {best_uniform[]:.1%} with the best single discount",
            ),
            Claim(
                "Profit gain over list that is kept when nobody pays more than 5 % above anybody else",
                SHOP + ", held-out pages",
                "fairness",
                "{kept_rho_1.05[]:.2f}",
                "1: the same prices without a corridor",
            ),
            Claim(
                "Prices that the corridor of 25 % bounds",
                SHOP + ", held-out pages",
                "fairness",
                "{corridor_binds:.1%}",
                "below 40 %",
            ),
            Claim(
                "A group pays 1 % more: share of audits that raise an alarm",
                "100 simulated quote logs of 12,000 quotes",
                "fairness",
                "{audit_alarm_at_1pct[]:.0%}",
                "{audit_alarm_at_0pct[]:.0%} when no group pays more",
            ),
            Claim(
                "Hourly looks at a log without a gap: false alarms within three days, sequential test",
                "200 simulated logs",
                "fairness",
                "{peeking_false_alarm_sequential[]:.1%}",
                "nominal 5 %; a fixed test repeated hourly: {peeking_false_alarm_fixed:.1%}",
            ),
            Claim(
                "Price shopping: mean gain below the honest price with 40 accounts, any consent, place and page",
                "40 customers of a simulated shop, 8 items each",
                "price-shopping",
                "{gain_everything[]:.2f} %",
                "pages alone: {gain_page_composition[]:.2f} %; accounts alone: {gain_fresh_accounts[]:.2f} %",
            ),
            Claim(
                "Regret of exploring a fifth of the prices over 60 days: drawn by Thompson sampling",
                "6 simulated shops of 80 items, 50 pages a day, demand fitted again every 10 days",
                "exploration",
                "{regret_thompson_20[]:.1%} of the oracle's profit",
                "evenly from the menu {regret_menu_20[]:.1%}; without exploration {regret_none[]:.1%}",
            ),
            Claim(
                "Off-policy estimates from a log of Thompson sampling whose 95 % interval holds the truth",
                "36 ten-day logs; prices that the model chose, and the lowest of every menu",
                "exploration",
                "{ope_covers_greedy[]:.0%} and {ope_covers_deepest[]:.0%}",
                "95 %; bias {ope_bias_greedy[]:.1%} and {ope_bias_deepest[]:.1%} of the truth",
            ),
            Claim(
                "Prices that earn 5 % more than the best of logged, list and uniform ones: share of models accepted",
                "80 simulated logs of 200,000 impressions",
                "acceptance",
                "{power_uplift_5_percent[]:.0%}",
                "{level_no_uplift[]:.1%} of the logs when prices earn what the logged ones do; at most 5 %",
            ),
            Claim(
                "Prices that earn what the logged ones do: share of logs on which the gate against these passes",
                "1,000 simulated logs, 40 held-out demand models",
                "acceptance",
                "{uplift_gate_level[]:.1%}",
                "5 %, as its bound is one-sided at 95 %; bias {uplift_bias[]:.2f} of its standard errors",
            ),
            Claim(
                "The demo's shop with seeds 0 to 9: share accepted",
                "10 simulated shops, all fitted anew but the encoder",
                "acceptance",
                "{accepted_demo_seeds[]:.0%}",
                "at least 90 %; profit above list {demo_true_uplift_over_list[]:.1%} (lowest and highest shop)",
            ),
            Claim(
                "Live test of two equal price lists, read daily: false decisions, sequential test",
                "200 simulated tests",
                "ab-test",
                "{false_decision_sequential[]:.1%}",
                "nominal 5 %; a fixed test repeated daily: {false_decision_fixed:.1%}",
            ),
            Claim(
                "A/A test of 1,000 days, read every day by the report of an experiment: false decisions",
                "200 simulated tests of 40,000 customers",
                "a-a-test",
                "{false_decision_sequential[]:.1%}",
                "nominal 5 %; a fixed test repeated daily: {false_decision_fixed:.1%}",
            ),
            Claim(
                "Live test of learned prices against list prices: time until the better prices ship",
                "200 simulated tests of 8,000 customers, profit gain {true_gain:.0%}",
                "ab-test",
                "median {days_to_ship[]:.0f} days; brackets: 10 % and 90 % of the tests",
                "{better_prices_shipped:.0%} of the tests ship them, {better_prices_stopped:.0%} stop them",
            ),
        ),
    ),
    Group(
        "Real data: personal choices",
        "Two randomised experiments, of a shop's e-mails and of a charity's letters: a choice for each customer by "
        "their history does not surely beat the best single arm in either, so the advice is not to personalise. "
        "Neither drew prices of goods.",
        (
            Claim(
                "Purchases a customer: personal choice of e-mail over the best e-mail for all",
                "44,780 customers of a shop, randomised",
                "personal-gain",
                "{mail_purchases_gain[]:.4f}",
                "0: no gain; the best e-mail for all makes {mail_purchases_single_arm:.4f}",
            ),
            Claim(
                "Spend a customer: personal choice of e-mail over the best e-mail for all",
                "44,780 customers of a shop, randomised",
                "personal-gain",
                "{mail_spend_gain[]:.2f} dollars",
                "0: no gain; the best e-mail for all makes {mail_spend_single_arm:.2f}",
            ),
            Claim(
                "Gift a letter: personal choice of the match over the best match for all",
                "35,013 letters of a charity, randomised",
                "personal-gain",
                "{gift_amount_gain[]:.2f} dollars",
                "0: no gain; the best match for all makes {gift_amount_single_arm:.2f}",
            ),
        ),
    ),
    Group(
        "Monitoring",
        "The rows say how soon a planted change is seen, and how rarely an alert comes without one. Thresholds were "
        "chosen on a simulated shop other than the one reported. On the real records the limits were chosen with the "
        "data in view: those rows show that what was flagged did happen, not how another shop's record would fare.",
        (
            DRIFT,
            Claim(
                "100 days without a change, every hour judged for drift, performance and fairness: urgent alerts / "
                "warnings",
                SHOP + ", the worse of 100 and 400 pages an hour",
                "detection",
                "{quiet_urgent_100_days[]:.0f} / {quiet_warnings_100_days[]:.0f} (90 % intervals)",
                "at most 1 urgent alert",
            ),
            Claim(
                "Prices of one category rise by 2 % / 5 % / 10 %: median time to the first alarm",
                SHOP + ", 100 pages an hour",
                "detection",
                "{hours_price_2_percent_low:.0f} h / {hours_price_5_percent_low:.0f} h / "
                "{hours_price_10_percent_low:.0f} h",
                "one day",
            ),
            Claim(
                "A group pays 1 % / 2 % / 3 % more: detected within a day",
                SHOP + ", the worse of 100 and 400 pages an hour",
                "detection",
                "{power_gap_1_percent[]:.0%} / {power_gap_2_percent[]:.0%} / {power_gap_3_percent[]:.0%} of 12 runs "
                "(90 % intervals)",
                "median time to the first alarm {hours_gap_1_percent_low:.0f} h / {hours_gap_2_percent_low:.0f} h / "
                "{hours_gap_3_percent_low:.0f} h",
            ),
            Claim(
                "10 % / 30 % of searches use words that training never saw: detected within a day",
                SHOP + ", the worse of 100 and 400 pages an hour",
                "detection",
                "{power_words_10_percent[]:.0%} / {power_words_30_percent[]:.0%} of 12 runs (90 % intervals)",
                "median time to the first alarm {hours_words_10_percent_low:.0f} h / "
                "{hours_words_30_percent_low:.0f} h",
            ),
            Claim(
                "Similarity stuck at one value: detected within a day",
                SHOP + ", the worse of 100 and 400 pages an hour",
                "detection",
                "{power_broken_similarity[]:.0%} of 12 runs (90 % interval)",
                "median time to the first alarm {hours_broken_similarity_low:.0f} h",
            ),
            Claim(
                "10 % of costs multiplied by 100: detected within a day",
                SHOP + ", the worse of 100 and 400 pages an hour",
                "detection",
                "{power_broken_cost[]:.0%} of 12 runs (90 % interval)",
                "median time to the first alarm {hours_broken_cost_low:.0f} h",
            ),
            Claim(
                "Customers become 1.5 / 2 / 3 times as price-sensitive: detected within a week",
                SHOP + ", 100 pages an hour",
                "detection",
                "{power_elasticity_x1.5_low:.0%} / {power_elasticity_x2_low:.0%} / {power_elasticity_x3_low:.0%} of 12 "
                "runs",
                "at 400 pages an hour {power_elasticity_x1.5_high:.0%} / {power_elasticity_x2_high:.0%} / "
                "{power_elasticity_x3_high:.0%}",
            ),
            Claim(
                "Weeks with an urgent drift alert",
                "grocery receipts, 36 weeks",
                "drift-real",
                "{complete_journey_urgent:.0f}",
                "{complete_journey_warn:.0f} weeks with a warning; docs/operations.md says what happened",
            ),
            Claim(
                "Months with an urgent drift alert",
                RETAIL + ", 8 months",
                "drift-real",
                "{online_retail_urgent:.0f}",
                "{online_retail_retrained_urgent:.0f} when retrained after an alert; docs/operations.md says what "
                "happened",
            ),
            Claim(
                "Drift job over a day of 10 million quotes: rows a second",
                "drawn quotes, one thread",
                "monitoring",
                "{sums_and_sketches_rows_per_second:,.0f}",
                "{memory_of_the_pass:.0f} MiB of memory; Evidently on its sample takes "
                "{evidently_sample_seconds:.0f} s more",
            ),
        ),
    ),
    Group(
        "Encoder",
        "The exported encoder answers much faster than PyTorch on a CPU, and the 8-bit export costs almost no quality. "
        "The speeds are those of one MiniLM on one machine. The training row compares our trainer with "
        "sentence-transformers' on a CPU; it says nothing about GPUs, for which `encoder-gpu` is the benchmark.",
        (
            Claim(
                "Encoding a query of 12 tokens, one thread, ONNX Runtime in 8 bits",
                "MiniLM",
                "encoder",
                "{int8_12tokens_1thread_p50:.1f} ms",
                "ONNX Runtime fp32 {fp32_12tokens_1thread_p50:.1f} ms, PyTorch {torch_12tokens_1thread_p50:.1f} ms",
            ),
            Claim(
                "Loss in nDCG@10 of the 8-bit export",
                "MiniLM, judged queries of the simulated shop",
                "encoder",
                "{int8_ndcg10_lost:.4f}",
                "at most 0.005; mean cosine to PyTorch's embeddings {int8_mean_cosine:.3f}",
            ),
            Claim(
                "Fine-tuning: tokens a second over those of sentence-transformers' Trainer",
                "an encoder of MiniLM's size, CPU",
                "encoder-training",
                "{minilm_over_sentence_transformers:.2f} times",
                "1: as fast as the Trainer",
            ),
            Claim(
                "Fine-tuning with four micro-batches a step: tokens a second over those with one",
                "an encoder of MiniLM's size, CPU",
                "encoder-training",
                "{minilm_rate_at_accumulation_4:.2f} times",
                "1: accumulation is free",
            ),
        ),
    ),
    Group(
        "Serving",
        "The same model runs behind every server, on the same two cores as the load generator. The endpoint also "
        "validates, signs, locks and logs prices, which the others do not. The ratios say what the server costs on top "
        "of the model; they are no ranking of the other servers for other workloads.",
        (
            THROUGHPUT,
            Claim(
                "Pages a second over those of the best other server / of the model called directly in one process",
                SERVED + ", 32 requests in flight",
                "serving",
                "{throughput_over_best_peer:.2f} / {throughput_over_core:.2f} times",
                "above 1 / at least 0.75",
            ),
            Claim(
                "99th percentile of the response time over the best of the other servers",
                SERVED + ", 32 requests in flight",
                "serving",
                "{p99_over_best_peer:.2f} times",
                "below 1",
            ),
            Claim(
                "Median response time of a single request over the time of encoding, searching and pricing",
                SERVED,
                "serving",
                "{p50_over_parts:.2f} times",
                "at most 1.3",
            ),
            Claim(
                "Pages a second with two worker processes over LitServe with two workers",
                SERVED + ", 32 requests in flight",
                "serving",
                "{two_workers_over_litserve_two_workers:.2f} times",
                "memory {fairtag_two_workers_memory_mb:,.0f} MB against {litserve_two_workers_memory_mb:,.0f} MB",
            ),
            Claim(
                "Check of a shop before a run, every table read, typed and validated: CSV / parquet",
                "{csv_rows:,.0f} rows of six tables",
                "intake",
                "{csv_seconds:.0f} s / {parquet_seconds:.0f} s",
                "an export of Shopify {shopify_seconds:.0f} s; most memory {online_retail_memory_mb:,.0f} MB",
            ),
            Claim(
                "A small shop from git clone to its first priced query, packages installed",
                "40 items and 100 orders / 10 items alone",
                "first-query",
                "{small_total_seconds:.0f} s / {tiny_total_seconds:.0f} s",
                "at most 180 s; processor time of the run {small_run_cpu_seconds:.0f} s / {tiny_run_cpu_seconds:.0f} s",
            ),
            Claim(
                "Start of the endpoint until the first answer",
                "100,000 items",
                "serving",
                "{cold_start_seconds:.0f} s",
                "at most 15 s; memory {memory_mb:,.0f} MB",
            ),
            Claim(
                "Share of a page's time spent on reading features, without / with the item cache",
                SERVED + ", Feast on SQLite",
                "serving",
                "{feature_share_uncached:.0%} / {feature_share_cached:.0%}",
                "0 %",
            ),
            Claim(
                "Finding and pricing a page among 1 million items over 100,000 items",
                "pages of 24",
                "serving",
                "{page_many_over_base:.2f} times",
                "at most 2; memory {many_memory_mb:,.0f} MB",
            ),
            Claim(
                "Share of the exact 100 nearest items that the index finds among 1 million",
                "queries that did not choose the index",
                "serving",
                "{recall_at_100_many:.3f}",
                "at least 0.98",
            ),
            Claim(
                "Typing errors undone, one in each query",
                "{slips:.0f} queries of a simulated shop",
                "search-behaviour",
                "{slips_undone:.1%}; {page_kept_corrected:.1%} of the right page's items",
                "as typed: {page_kept_as_typed:.1%} of the items; right queries changed: {right_queries_changed:.1%}",
            ),
            Claim(
                "Nonsense that gets no items",
                "{nonsense:.0f} queries of random letters",
                "search-behaviour",
                "{nonsense_empty:.1%}",
                "customers' own queries that get none: {customers_queries_empty:.1%}",
            ),
            Claim(
                "Time of a page with spelling, prices in words and the floor, over one without",
                "20,000 items, every query new",
                "search-behaviour",
                "{read_over_off[]:.2f} times",
                "misspelt {typo_over_off:.2f}, with a filter {filter_over_off:.2f}, with facets {facets_over_off:.2f}",
            ),
            Claim(
                "Nearest 100 of 100,000 embeddings with 4-bit codes",
                "drawn clusters, one thread",
                "search-index",
                "{codes_10_p50:.1f} ms, recall {codes_10_recall:.3f}",
                "exact scan {scan_p50:.1f} ms; HNSW {hnsw_p50:.1f} ms, recall {hnsw_recall:.3f}",
            ),
            Claim(
                "Ten minutes with 32 requests in flight: failed requests",
                "20,000 items, {pages:,.0f} pages",
                "serving-soak",
                "{failed:.0f}",
                "memory changed by {memory_growth:+.1%}; at most +5 %",
            ),
            Claim(
                "Malformed and hostile requests over HTTP and gRPC: server errors",
                "{cases:,.0f} generated requests",
                "serving-fuzz",
                "{server_errors:.0f}",
                "0; each answered within a minute",
            ),
        ),
    ),
    Group(
        "Solver and demand fit",
        "The solver returns the exact optimum, so a competitor can only tie it; the rows show what others lose and how "
        "much longer they take on the same pages. Ratios carry over to other machines, milliseconds do not. Adam and "
        "L-BFGS-B are given the analytic gradient and, for Adam, the best of four learning rates.",
        (
            SOLVER,
            Claim(
                "Exact optimal prices of one page of 24 items from 32 allowed price endings",
                "drawn pages, one thread",
                "solver",
                "{page_24_menu:.2f} ms",
                "any price between the bounds: {page_24_interval:.2f} ms",
            ),
            Claim(
                "Exact optimal prices where 8 of 24 items share demand in pairs, over the time of the plain solver",
                "drawn pages, one thread",
                "solver",
                "{nested_over_plain_time:.1f} times",
                "goal: at most 3",
            ),
            Claim(
                "Time of Adam over the exact solver on a batch of a million prices",
                "drawn pages, one thread",
                "solver",
                "{adam_over_exact_time:.0f} times",
                "1",
            ),
            Claim(
                "Profit lost by Adam on pages with several local optima, mean / worst page",
                "drawn pages with a strong anchor",
                "solver",
                "{adam_anchored_value_lost:.2%} / {adam_anchored_value_lost_worst:.1%}",
                "0 %: the exact solver",
            ),
            Claim(
                "Profit lost by the best of 8 L-BFGS-B starts on pages with several local optima, mean / worst page",
                "drawn pages with a strong anchor",
                "solver",
                "{lbfgsb_anchored_value_lost:.1%} / {lbfgsb_anchored_value_lost_worst:.0%}",
                "0 %: the exact solver",
            ),
            DEMAND_FIT,
            Claim(
                "The same fit where 40 % of the rows share demand in pairs",
                "drawn choices, one thread",
                "demand",
                "{fit_1m_impressions_60_parameters_nested:.1f} s",
                "goal: below 10 s",
            ),
            Claim(
                "Memory of the demand fit beside its data: 1 million impressions, 60 parameters",
                "drawn choices, one thread",
                "demand",
                "{memory_on_top_of_data:.0f} MB",
                "the data: {data_memory:.0f} MB",
            ),
            Claim(
                "Largest gap to statsmodels' coefficients, both fits at their optimum",
                "drawn choices, 12,000 rows of 10 parameters",
                "demand",
                "{largest_coefficient_gap:.0e}",
                "at most 1e-6",
            ),
        ),
    ),
)
