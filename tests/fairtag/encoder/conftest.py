"""A tiny random BERT and a tiny judged shop, so that fine-tuning takes seconds."""

import itertools
import multiprocessing
import runpy
import textwrap
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairtag.base import schema
from fairtag.base.settings import layered
from fairtag.encoder.config import EncoderConfig

NOUNS = ("drill", "lamp", "chair", "kettle", "rope", "paint", "mower", "mirror")
COLOURS = ("red", "blue", "green", "black")
WORDS = ("for", "the", "a", "my", "with", "premium", "basic", "new")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# What a training process imports; with it in place a process starts in milliseconds instead of 5 s.
PRELOADED = ("fairtag.encoder.training", "fairtag.encoder.encoder", "pandas", "torch.distributed.fsdp")
PRELOADED += ("transformers.models.bert.modeling_bert", "peft")
PRELUDE = "import sys; sys.argv[1:] = ARGUMENTS; sys.stdout = sys.stderr = open(LOG, 'w', buffering=1)\n"


class Script:
    """A script in a process of its own."""

    def __init__(self, process: BaseProcess, log: Path) -> None:
        self._process, self._log = process, log

    def wait(self, timeout: float = 200) -> tuple[int, str]:
        """Exit code and output, once it has ended."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout:.0f} s: {self._log.read_text()}"
        return self._process.exitcode, self._log.read_text()

    def kill(self) -> None:
        self._process.kill()


@pytest.fixture(scope="session")
def start_script(tmp_path_factory):
    """Starts a script as a process, forked from one that has imported torch and the trainer and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    numbers = itertools.count()

    def start(program: str, *arguments: object) -> Script:
        folder = tmp_path_factory.mktemp("script")
        (folder / "program.py").write_text(PRELUDE + textwrap.dedent(program))
        given = {"ARGUMENTS": [str(argument) for argument in arguments], "LOG": str(folder / "log")}
        process = context.Process(
            target=runpy.run_path, args=(str(folder / "program.py"), given), name=f"script-{next(numbers)}"
        )
        process.start()
        return Script(process, folder / "log")

    return start


@pytest.fixture(scope="session")
def tiny_base(tiny_bert, tmp_path_factory):
    """A directory with a random BERT of 2 layers and its tokenizer, which knows the shop's words."""
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    return tiny_bert(folder, [*NOUNS, *COLOURS, *WORDS], layers=2, positions=24)


@pytest.fixture(scope="session")
def judgements():
    """Each query names a noun and a colour; an item is relevant by the noun, and exact by both."""
    rng = np.random.default_rng(1)
    rows = []
    for noun in NOUNS:
        for colour in COLOURS:
            others = [rng.choice([n for n in NOUNS if n != noun]) for _ in range(3)]
            items = [(colour, noun, 1.0), (rng.choice([c for c in COLOURS if c != colour]), noun, 0.7)]
            items += [(colour, other, 0.0) for other in others]
            for number, (tint, thing, relevance) in enumerate(items):
                query = f"a {noun} {colour}"
                rows.append((query, f"{query}-{number}", f"{tint} {thing} {rng.choice(WORDS)}", relevance))
    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="session")
def items():
    """Every noun in every colour; the noun and "premium" set the price."""
    rows = []
    for place, noun in enumerate(NOUNS):
        for colour in COLOURS:
            for grade, factor in (("basic", 1.0), ("premium", 2.0)):
                price = 10.0 * (place + 1) * factor
                rows.append((f"{noun}-{colour}-{grade}", f"{grade} {colour} {noun}", "shop", price))
    return pd.DataFrame(rows, columns=[schema.ITEM_ID, schema.TITLE, schema.CATEGORY, schema.LIST_PRICE])


@pytest.fixture(scope="session")
def impressions(items):
    """Shown items: those that match the query are clicked, some of them bought."""
    rng = np.random.default_rng(2)
    rows = []
    for page in range(60):
        noun = NOUNS[page % len(NOUNS)]
        for item in items.sample(6, random_state=page).itertuples():
            clicked = noun in item.title
            price = item.list_price * rng.choice([0.9, 1.0])
            bought = bool(clicked and rng.random() < 0.5)
            rows.append((f"the {noun}", item.item_id, price, item.list_price, bool(clicked), bought))
    names = [schema.QUERY, schema.ITEM_ID, schema.PRICE, schema.LIST_PRICE, schema.CLICKED, schema.PURCHASED]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(scope="session")
def config(tiny_base):
    """Settings under which the tiny encoder learns in seconds."""

    def make(*layers, **sections):
        settings = {
            "base": {"name": str(tiny_base), "max_length": 12},
            "batch": {"queries": 4, "items": 8, "clicks": 8},
            "optimiser": {"learning_rate": 2e-3, "head_learning_rate": 5e-3},
            "schedule": {"max_steps": 6},
            "validation": {"holdout_share": 0.25},
            "export": "none",
        }
        return EncoderConfig.from_json(layered(settings, *layers, sections))

    return make
