"""Every study and benchmark: its name, what it measures, what it needs, how long it takes, which options it has.

This table is the only place that names them. ``python -m benchmarks`` and ``fairtag study`` are made from it, and a
test holds it against the modules: an entry's options are the parameters of its function. Nothing is imported until an
entry runs::

    find("solver").run(quick=True)
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fairtag.base.errors import ConfigError, MissingDataError, UnavailableError

if TYPE_CHECKING:
    from benchmarks.result import Result


class Kind(StrEnum):
    """A study says what the models do on data; a benchmark says how fast the code is beside others."""

    STUDY = "study"
    BENCHMARK = "benchmark"


@dataclass(frozen=True)
class Option:
    """One option of an entry.

    Args:
        name: Parameter of the entry's function; the command line writes it with hyphens.
        type: Type of its value.
        help: What it means.
        default: Its value when it is not given.
        environment: Environment variable that gives it as well.
    """

    name: str
    type: Any
    help: str
    default: Any = None
    environment: str | None = None


@dataclass(frozen=True)
class Need:
    """What a machine must have for an entry.

    Args:
        what: As the overview names it.
        problem: What is missing and how to get it; empty when it is there.
    """

    what: str
    problem: Callable[[], str]


def _package(name: str) -> Need:
    def problem() -> str:
        missing = importlib.util.find_spec(name) is None
        return f"the Python package {name} is not installed; `make install` installs it" if missing else ""

    return Need(f"package {name}", problem)


def _gpu_problem() -> str:
    import torch

    if torch.cuda.is_available():
        return ""
    return (
        "it needs one NVIDIA GPU with bf16 and 24 GB, a driver, and torch built for CUDA; torch finds no device here. "
        "--quick runs the same lines with a tiny encoder on the CPU"
    )


GPU = Need("NVIDIA GPU", _gpu_problem)
Precision = Literal["fp32", "bf16"]
WORK = Option("work", Path, "Folder that keeps what was computed, for the next run.", environment="FAIRTAG_BENCH_WORK")
PEERS = Option(
    "peers",
    Path,
    "Python of an environment with benchmarks/peers/requirements.txt; without it FastAPI is the only other server.",
    environment="FAIRTAG_BENCH_PEERS",
)
STEPS = Option("steps", int, "Training steps of each encoder that is tuned.", 400)
SEARCH_STUDY = (
    Option("precision", Precision, "Precision of the encoders' training.", "fp32"),
    Option("terms", int, "Search terms kept, drawn by hash; all without it."),
    replace(WORK, environment=None),
)


@dataclass(frozen=True)
class Entry:
    """A study or benchmark.

    Args:
        name: As the command line spells it.
        kind: Study or benchmark.
        module: Module below ``benchmarks``.
        measures: What it measures, in one sentence.
        minutes: Rough time on two cores.
        data: Folders of real data it reads, below the one that ``--data`` names.
        needs: What else the machine must have; a quick run does without.
        options: Its own options.
        function: Function of the module that returns its :class:`benchmarks.result.Result`.
        quick: Function of the module that does a fraction of the work, with the same options; empty: there is none.
    """

    name: str
    kind: Kind
    module: str
    measures: str
    minutes: int
    data: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    options: tuple[Option, ...] = ()
    function: str = "run"
    quick: str = ""

    def run(self, data: Path | None = None, *, quick: bool = False, **options: Any) -> Result:
        """Run it, or its quick version.

        Args:
            data: Folder of the real data sets.
            quick: Do a fraction of the work.
            options: Its own options; what is left out has its default.

        Raises:
            MissingDataError: It reads real data that is not there.
            UnavailableError: The machine lacks something it needs.
            ConfigError: It has no quick version.
        """
        if quick and not self.quick:
            raise ConfigError(f"{self.name} has no quick version; leave out --quick")
        self.check(data, quick=quick)
        module = importlib.import_module(f"benchmarks.{self.module}")
        given = {option.name: options.get(option.name, option.default) for option in self.options}
        arguments = {"data": data, **given} if self.data else given
        result: Result = getattr(module, self.quick if quick else self.function)(**arguments)
        return replace(result, name=self.name, command=self.command(given, quick=quick))

    def check(self, data: Path | None, *, quick: bool = False) -> None:
        """Refuse to run where something is missing.

        Raises:
            MissingDataError: It reads real data that is not there.
            UnavailableError: The machine lacks something it needs.
        """
        folders = " and ".join(self.data)
        if self.data and data is None:
            raise MissingDataError(
                f"{self.name} reads the real data in {folders}; name the folder that holds {folders} with --data DIR, "
                "or set FAIRTAG_DATA"
            )
        for folder in self.data:
            if data is not None and not (data / folder).is_dir():
                raise MissingDataError(
                    f"{self.name}: {data} holds no folder {folder}; name the folder that holds it with --data DIR"
                )
        for problem in () if quick else (need.problem() for need in self.needs):
            if problem:
                raise UnavailableError(f"{self.name} cannot run: {problem}")

    def command(self, options: dict[str, Any] | None = None, *, quick: bool = False) -> str:
        """The command line that makes its result; paths, which differ between machines, are named by their kind."""
        words = [f"fairtag study {self.name}" if self.kind is Kind.STUDY else f"python -m benchmarks {self.name}"]
        words += ["--data DIR"] if self.data else []
        for name, value in (options or {}).items():
            shown = name.upper() if isinstance(value, Path) else f"{value:g}" if isinstance(value, float) else value
            if value is not None and name != WORK.name:  # a working folder changes no figure
                words.append(f"--{name.replace('_', '-')} {shown}")
        return " ".join([*words, *(["--quick"] if quick else [])])


def _study(name: str, module: str, measures: str, minutes: int, **more: Any) -> Entry:
    return Entry(name, Kind.STUDY, f"studies.{module}", measures, minutes, **more)


def _benchmark(name: str, module: str, measures: str, minutes: int, **more: Any) -> Entry:
    return Entry(name, Kind.BENCHMARK, module, measures, minutes, **more)


ENTRIES: tuple[Entry, ...] = (
    _study(
        "a-a-test",
        "a_a_test",
        "How often the report of an experiment decides between equal arms in 1,000 days of daily reading.",
        4,
        quick="quick",
    ),
    _study(
        "ab-test",
        "ab_test",
        "How often a live test of learned prices decides rightly, and how soon.",
        3,
        quick="quick",
    ),
    _study(
        "acceptance",
        "acceptance",
        "How often the gates of value accept better prices, refuse others, and refuse without a reason.",
        11,
        quick="quick",
    ),
    _study(
        "complete-journey",
        "complete_journey",
        "Whether demand learned from grocery receipts is calibrated on later weeks, and which groups pay more.",
        5,
        data=("complete_journey",),
    ),
    _study(
        "detection",
        "detection",
        "How soon and how surely the monitors see planted changes, and how rarely they raise a false alarm.",
        12,
        quick="quick",
    ),
    _study(
        "dominicks",
        "dominicks.shelf_prices",
        "Elasticities of orange juice against known values, and the profit of learned prices on held-out weeks.",
        2,
        data=("dominicks_oj",),
    ),
    _study(
        "drift-real",
        "drift_real",
        "What the drift job flags in two real shops, week by week and month by month.",
        3,
        data=("complete_journey", "online_retail"),
    ),
    _study(
        "exploration",
        "exploration",
        "What exploration costs in 60 days, drawn evenly or by Thompson sampling, and what its log can evaluate.",
        5,
        quick="quick",
    ),
    _study(
        "fairness",
        "fairness",
        "What a price corridor costs, and how surely the audit sees a gap between groups.",
        5,
    ),
    _study(
        "home-depot",
        "home_depot.ranking",
        "Order and predicted relevance of real search results, against BM25, overlaps and an untuned encoder.",
        90,
        data=("home_depot_search",),
        options=(Option("folds", int, "Folds scored, of five.", 5), STEPS, *SEARCH_STUDY),
    ),
    _study(
        "home-depot-student",
        "home_depot.distillation",
        "What smaller students of the tuned encoder lose on real search, and how much faster they are.",
        60,
        data=("home_depot_search",),
        options=(STEPS, Option("student_steps", int, "Training steps of each student.", 500), *SEARCH_STUDY),
    ),
    _study(
        "online-retail",
        "online_retail",
        "Forecast of next week's demand on real invoices, against the seasonal naive rule.",
        3,
        data=("online_retail",),
    ),
    _study(
        "personal-gain",
        "personal_gain",
        "Whether a choice for each customer beats the best single arm in two real experiments.",
        1,
        data=("hillstrom", "charity_price"),
    ),
    _study(
        "price-regression",
        "price_regression",
        "Prices estimated for real products that the price model has never seen, against simple baselines.",
        5,
        data=("product_matching", "online_retail"),
    ),
    _study(
        "price-shopping",
        "price_shopping",
        "How far below the honest price an attacker gets who changes pages, accounts, place and consent.",
        10,
        quick="quick",
    ),
    _study(
        "small-shops",
        "small_shops",
        "What shops of 20 to 3,000 items learn: calibration, and profit against the best possible and uniform prices.",
        5,
        quick="quick",
    ),
    _study(
        "synthetic",
        "synthetic",
        "Whether planted demand parameters are recovered, and how near learned prices come to the best possible.",
        8,
        quick="quick",
    ),
    _study(
        "uplift-parts",
        "uplift_parts",
        "What learned prices lose against an oracle, part by part, each replaced by the planted truth.",
        3,
        quick="quick",
    ),
    _benchmark(
        "demand",
        "models.demand_fit",
        "Time and memory of the demand fit, against statsmodels where that can do it.",
        1,
        needs=(_package("statsmodels"),),
    ),
    _benchmark(
        "encoder",
        "encoder.inference",
        "Time to encode a text with PyTorch and with ONNX Runtime in fp32 and 8 bits, and what the exports lose.",
        4,
    ),
    _benchmark(
        "encoder-gpu",
        "encoder.fine_tuning",
        "Speed of fine-tuning encoders of two sizes on a GPU, against sentence-transformers' Trainer.",
        10,
        needs=(GPU,),
        function="run_on_gpu",
        quick="run_tiny",
    ),
    _benchmark(
        "encoder-training",
        "encoder.fine_tuning",
        "Speed of fine-tuning an encoder of MiniLM's size on a CPU, against sentence-transformers' Trainer.",
        10,
        function="run_on_cpu",
        quick="run_briefly_on_cpu",
    ),
    _benchmark(
        "first-query",
        "intake.first_query",
        "Time from git clone to the first priced query of a shop of 40 items and 100 orders, and of one of 10 items.",
        6,
    ),
    _benchmark(
        "intake",
        "intake.check",
        "Time and peak memory of fairtag check for every reader of data sets.",
        4,
        data=("complete_journey", "home_depot_search", "online_retail", "dominicks_oj"),
        options=(Option("exports", Path, "Folder of exports of shop systems, one folder for each reader."),),
    ),
    _benchmark(
        "monitoring",
        "monitoring.drift_job",
        "Time and memory of the drift job over a day of 10 million quotes.",
        5,
        quick="quick",
    ),
    _benchmark(
        "search-behaviour",
        "serving.search_behaviour",
        "How many typing errors are undone and how much nonsense is kept out, and what that costs beside a page.",
        3,
        options=(WORK,),
        quick="quick",
    ),
    _benchmark(
        "search-index",
        "models.nearest_items",
        "Time and recall of finding the nearest 100 of 100,000 items, by kind of index.",
        4,
        quick="quick",
    ),
    _benchmark(
        "serving",
        "serving.comparison",
        "Throughput, response time and memory of the endpoint, against its own parts and other servers.",
        12,
        options=(PEERS, WORK),
        quick="quick",
    ),
    _benchmark(
        "serving-fuzz",
        "serving.fuzz",
        "Whether 22,000 malformed and hostile requests are all answered without a server error.",
        10,
        needs=(_package("schemathesis"),),
        options=(WORK,),
    ),
    _benchmark(
        "serving-soak",
        "serving.soak",
        "Failures and growth of memory of the endpoint under full load.",
        3,
        options=(Option("seconds", float, "How long the load lasts.", 60.0), WORK),
    ),
    _benchmark(
        "solver",
        "models.exact_solver",
        "Time of the exact page solver, and what Adam and L-BFGS-B take and lose on the same pages.",
        2,
        quick="quick",
    ),
)


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """Names of all entries, or of one kind."""
    return tuple(entry.name for entry in ENTRIES if kind in (None, entry.kind))


def find(name: str) -> Entry:
    """The entry of a name, written with hyphens or underscores.

    Raises:
        ConfigError: There is none.
    """
    for entry in ENTRIES:
        if entry.name == name.replace("_", "-"):
            return entry
    raise ConfigError(f"{name!r} is no study or benchmark; there are {', '.join(names())}")
