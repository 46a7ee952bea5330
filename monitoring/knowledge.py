"""What each check means to the person on call: title, likely cause, first action, runbook entry. Knows no figure.

The report, the alerts and the runbook's own test read this one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Knowledge:
    """One check in words.

    Args:
        title: What went wrong, as a heading.
        cause: The likeliest cause.
        action: The first thing to do.
        entry: Heading of the runbook entry.
    """

    title: str
    cause: str
    action: str
    entry: str


_CHECKS: Final[dict[str, Knowledge]] = {
    "log_of_quotes": Knowledge(
        "The quote log is damaged",
        "an endpoint was killed while writing, a disk is full, a clock is wrong, or a file was delivered twice",
        "Open the named files; compare clocks; look at the endpoint's log-dropped counter.",
        "log-damaged",
    ),
    "log_of_outcomes": Knowledge(
        "The outcomes are damaged",
        "the shop's export was cut off, repeated, or written with another schema",
        "Ask for the export again; the performance job can be rerun for the same window.",
        "log-damaged",
    ),
    "traffic": Knowledge(
        "Too little traffic to tell",
        "the endpoint gets no requests, writes its log elsewhere, or the window is too short",
        "Check that the endpoint serves and that --quotes names its log; then take a longer window.",
        "too-little-data",
    ),
    "similarity": Knowledge(
        "Search results fit their queries less (or more) than in training",
        "the catalogue or the queries changed, or the item embeddings are of another encoder",
        "Compare the bundle's version with the one that served; read the new queries.",
        "relevance-moved",
    ),
    "price_to_list": Knowledge(
        "Discounts are not what they were",
        "competitor prices, costs or bounds moved, or customers' features changed",
        "See which reason codes grew; compare the bounds in force with the policy.",
        "prices-moved",
    ),
    "margin": Knowledge(
        "Margins are not what they were",
        "unit costs changed without the prices, or a cost feed is broken",
        "Compare unit costs of the named items with the supplier's.",
        "prices-moved",
    ),
    "purchase_probability": Knowledge(
        "The model expects other demand than in training",
        "other customers, other items, or features that arrive broken",
        "Check stale and degraded features first; then the performance job.",
        "demand-moved",
    ),
    "category_mix": Knowledge(
        "Other categories are being searched",
        "a campaign, a season, a new range, or one category's search is broken",
        "Ask merchandising about campaigns; look for a category near zero.",
        "mix-moved",
    ),
    "new_category": Knowledge(
        "A category the model has never seen",
        "the catalogue grew after training",
        "Retrain with the new catalogue; until then its prices rest on text alone.",
        "mix-moved",
    ),
    "reasons": Knowledge(
        "Prices have other reasons than in training",
        "a guardrail binds that did not, or stock and competitor feeds changed",
        "See which reason grew and look at its input.",
        "prices-moved",
    ),
    "price_level": Knowledge(
        "The same items cost more (or less) than in training",
        "list prices or costs were changed, a competitor feed moved, or the demand model sees other customers",
        "Look whether list price or cost moved with it: if so the shop did it, if not the model did.",
        "prices-moved",
    ),
    "list_price_level": Knowledge(
        "List prices moved",
        "the shop repriced, or the catalogue feed has another currency or unit",
        "Ask pricing; a factor of 100 or of an exchange rate is a broken feed.",
        "catalogue-moved",
    ),
    "reference_price_level": Knowledge(
        "Reference prices moved",
        "the price model or its market inputs changed without a new bundle",
        "Compare the bundle's digest with the one that was accepted.",
        "catalogue-moved",
    ),
    "unit_cost_level": Knowledge(
        "Unit costs moved",
        "suppliers changed prices, or the cost feed is broken",
        "Compare a few items with the supplier's list; a broken feed goes to floor prices.",
        "catalogue-moved",
    ),
    "repriced_items": Knowledge(
        "Many items have quite another price than in training",
        "a clearance, a new price list, or a feed in another unit or currency",
        "Open the named items: a sale is the shop's own, a factor that repeats is a broken feed.",
        "prices-moved",
    ),
    "recosted_items": Knowledge(
        "Many items have quite another cost than in training",
        "a cost feed in another unit or currency, or of another supplier's list",
        "Compare the named items with the supplier's list; floors and margins rest on these costs.",
        "catalogue-moved",
    ),
    "unknown_items": Knowledge(
        "Items that training never saw are being priced",
        "the range grew faster than the model is retrained",
        "Retrain; new items are priced from their text until then.",
        "catalogue-moved",
    ),
    "query_words": Knowledge(
        "Customers search with other words",
        "news, season, a campaign, or a crawler",
        "Read the frequent queries in the report; block a crawler, retrain for the rest.",
        "queries-moved",
    ),
    "new_words": Knowledge(
        "Customers search with words the model never saw",
        "a new language, a new range, or a crawler",
        "Read the frequent queries; retrain the encoder when they are real.",
        "queries-moved",
    ),
    "query_embedding": Knowledge(
        "Queries mean something else than in training",
        "customers look for other things, or another encoder is loaded",
        "Compare the encoder's digest with the manifest; then read the queries.",
        "queries-moved",
    ),
    "feature_absent": Knowledge(
        "A column of the items went missing",
        "a feed (competitor prices, stock, costs) did not arrive, or its export renamed a column",
        "Open the items table of the newest export; compare the named column with last week's.",
        "features-moved",
    ),
    "purchases": Knowledge(
        "Customers buy more (or less) than the model says",
        "demand moved, outcomes are missing, or a part of the shop is broken",
        "Check that outcomes are complete; then retrain.",
        "demand-moved",
    ),
    "revenue": Knowledge(
        "Revenue is off expectation",
        "customers buy other items than expected, or outcomes are missing",
        "See which category is off; check that outcomes are complete.",
        "demand-moved",
    ),
    "category_purchases": Knowledge(
        "One category sells off expectation",
        "stock, season, a competitor, or a broken product page",
        "Open a page of the category; check stock and competitor prices.",
        "demand-moved",
    ),
    "calibration_slope": Knowledge(
        "Purchase probabilities are too bold (or too shy)",
        "customers differ from those of training",
        "Retrain; until then confidence-based list prices are the safe side.",
        "demand-moved",
    ),
    "log_loss": Knowledge(
        "Predictions of purchases are worse than they claim",
        "demand moved or features arrive broken",
        "Check stale features; then retrain.",
        "demand-moved",
    ),
    "elasticity": Knowledge(
        "Customers react to prices otherwise than the model says",
        "competition, season or money got tighter; prices in force are no longer the best ones",
        "Retrain on recent data; widen exploration if it was off.",
        "elasticity-moved",
    ),
    "outcomes_join": Knowledge(
        "Purchases dated before their quotes",
        "the clocks of shop and endpoint differ",
        "Compare the two clocks; fix the time service.",
        "log-damaged",
    ),
    "price_gap": Knowledge(
        "A group of customers pays another price for the same item",
        "a pricing feature stands in for the group (a proxy)",
        "Find the feature with the proxy check; switch personal prices off if the gap pages.",
        "price-gap",
    ),
    "promise_corridor": Knowledge(
        "Two customers' prices are further apart than promised",
        "two models or two policies priced the same epoch, or the corridor was not applied",
        "Roll back to the last accepted bundle; see which versions served the epoch.",
        "promise-broken",
    ),
    "promise_list": Knowledge(
        "A price above list",
        "the list price fell after the quote, or a guardrail is off (a markup that the policy allows counts as list)",
        "Roll back; compare the list prices of the examples with the catalogue.",
        "promise-broken",
    ),
    "promise_floor": Knowledge(
        "A price below its floor",
        "a guardrail is off or the cost feed moved within an epoch",
        "Roll back; compare the bounds of the examples with the policy.",
        "promise-broken",
    ),
    "promise_ceiling": Knowledge(
        "A price above its ceiling",
        "a guardrail is off",
        "Roll back; compare the bounds of the examples with the policy.",
        "promise-broken",
    ),
    "promise_disclosure": Knowledge(
        "A personal price without the words the law asks for",
        "the disclosure table or the jurisdiction of the request is wrong",
        "Switch personal prices off for the jurisdiction until the text is right.",
        "disclosure-missing",
    ),
    "promise_opt_out": Knowledge(
        "A personal price for a customer who refused one",
        "the opt-out did not reach the endpoint",
        "Switch personal prices off; repair the opt-out's path first.",
        "promise-broken",
    ),
    "promise_sticky": Knowledge(
        "The same customer saw two prices for one item in one epoch",
        "sticky quotes are off or their store is down",
        "Check the store of sticky prices.",
        "promise-broken",
    ),
    "degraded": Knowledge(
        "Pages are priced without their features",
        "the feature store is slow or down",
        "Look at the feature store's latency; the endpoint serves list prices meanwhile.",
        "features-stale",
    ),
    "stale_features": Knowledge(
        "Prices rest on old features",
        "materialisation stopped",
        "Run the materialise step; look at its last run.",
        "features-stale",
    ),
    "no_customer": Knowledge(
        "Many pages have no known customer",
        "the shop stopped sending the user, or most are visitors",
        "Compare with the shop's log-ins.",
        "features-stale",
    ),
    "duplicates": Knowledge(
        "Quotes are logged twice",
        "a delivery was repeated",
        "Find the two files; duplicates are left out of every figure.",
        "log-damaged",
    ),
    "late": Knowledge(
        "Quotes arrive late",
        "an endpoint could not write for a while",
        "Look at its write failures; rerun the jobs for the window.",
        "log-damaged",
    ),
    "future": Knowledge(
        "Quotes come from the future",
        "a clock runs ahead",
        "Fix the time service of the endpoint's node.",
        "log-damaged",
    ),
    "broken_rows": Knowledge(
        "Rows break the contract of the log",
        "another version of the endpoint writes the log",
        "Compare the endpoint's version with the monitors'.",
        "log-damaged",
    ),
    "constant_column": Knowledge(
        "A number never changes",
        "a job upstream writes a constant",
        "Follow the named column to its source.",
        "features-moved",
    ),
    "silence": Knowledge(
        "No pages for a while",
        "the endpoint or the shop's search was down",
        "Look at the endpoint's readiness over the window.",
        "too-little-data",
    ),
    "disclosure_missing": Knowledge(
        "Personal prices without a disclosure",
        "the endpoint runs with a broken disclosure table",
        "Switch personal prices off; repair the table.",
        "disclosure-missing",
    ),
    "stock_out": Knowledge(
        "Items are about to run out",
        "demand is higher than the order quantities",
        "Order the named items, or let their prices rise within bounds.",
        "stock",
    ),
    "stock_ageing": Knowledge(
        "Items do not sell",
        "too much was ordered, or the price is wrong",
        "Mark the items as ageing so that they are priced towards clearance.",
        "stock",
    ),
    "job_failed": Knowledge(
        "A monitoring job could not run",
        "an input is missing or damaged",
        "Read the message; give the job what it needs and run it again for the window.",
        "monitoring-silent",
    ),
    "stock_age": Knowledge(
        "The stock levels are old",
        "the export of the shop's stock did not run",
        "Run the export again; then rerun the stock job.",
        "stock",
    ),
    "stock_levels": Knowledge(
        "Items have no stock level",
        "new items were not counted yet, or the export lost a column",
        "Compare the named export with the shop's own list.",
        "stock",
    ),
    "stock_data": Knowledge(
        "Stock cannot be judged",
        "orders or stock levels are missing",
        "Check the export of orders and stock.",
        "stock",
    ),
}
CHECKS: Final = tuple(_CHECKS)


def knowledge(check: str) -> Knowledge:
    """What is known about a check; ``price_gap:income`` and the like are found by the part before the colon."""
    return _CHECKS[check.partition(":")[0]]
