"""The endpoint's settings, read once from the environment and the command line into a frozen object."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:]+\](:\d{1,5})?")


class Limits(BaseSettings):
    """The limits of a request; a request that exceeds one gets an answer of status 4xx that names it."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_LIMIT_", frozen=True)

    head_bytes: int = Field(default=65_536, ge=1_024, description="Bytes of a request line with its headers.")
    head_fields: int = Field(default=100, ge=8, description="Headers of a request.")
    head_seconds: float = Field(default=10.0, gt=0, description="Seconds a client may take to send a request's head.")
    body_bytes: int = Field(
        default=262_144, ge=1_024, description="Bytes of a request body, chunked or not, compressed or not."
    )
    body_seconds: float = Field(default=10.0, gt=0, description="Seconds a client may take to send its body.")
    request_seconds: float = Field(
        default=30.0, gt=0, description="Longest work for one request; `Request-Timeout` asks for less."
    )
    write_seconds: float = Field(default=30.0, gt=0, description="Seconds a client may take to read an answer.")
    idle_seconds: float = Field(  # the usual balancer closes after 60 s, and it should be the one that closes
        default=65.0, gt=0, description="How long a connection without a request stays open."
    )
    connections: int = Field(default=1_024, ge=1, description="Open HTTP connections.")
    instances: int = Field(default=16, ge=1, description="Pages asked for in one request.")
    page_size: int = Field(default=100, ge=1, description="Items of a page.")
    items: int = Field(default=200, ge=1, description="Item ids of a `price` request.")
    query_characters: int = Field(default=512, ge=1, description="Characters of a query.")
    filter_values: int = Field(default=50, ge=1, description="Categories or brands of one filter.")
    id_characters: int = Field(default=128, ge=1, description="Characters of an item or user id.")
    concurrency: int = Field(default=256, ge=1, description="Requests in progress at once; more are answered 503.")
    work_items: int = Field(
        default=8_192, ge=1, description="Items of all requests in progress (items times pages); more are answered 503."
    )
    wrong_keys: int = Field(default=20, ge=1, description="Wrong API keys that an address may send in a minute.")
    requests_per_second: float = Field(default=0.0, ge=0, description="Per client; 0 sets no limit.")
    burst: int = Field(default=50, ge=1, description="Requests a client may send at once before the rate counts.")
    reads_per_second: float = Field(
        default=50.0, ge=0, description="GET requests of one address, probes aside (`/metrics`, `/docs`); 0: no limit."
    )
    metrics_seconds: float = Field(
        default=1.0, ge=0, description="For how long `/metrics` is shown again before it is computed anew."
    )


class SearchSettings(BaseSettings):
    """What is done to a query before it is searched for; see docs/how-to/search.md."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_SEARCH_", frozen=True)

    correct: bool = Field(default=True, description="Correct misspelt words.")
    price_words: bool = Field(default=True, description='Read a price such as "under 20" as a filter.')
    floor: bool = Field(default=True, description="Answer a query that is like nothing in the shop with no items.")
    known_floor: float | None = Field(
        default=None, ge=-1, le=1, description="Least cosine of a query of known words; the model's when unset."
    )
    unknown_floor: float | None = Field(
        default=None, ge=-1, le=1, description="Least cosine of a query without a known word; the model's when unset."
    )


class FeatureSettings(BaseSettings):
    """Where features come from and how long the endpoint waits for them."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_FEATURE_", frozen=True)

    repo: Path | None = Field(
        default=None, description="Folder of feature_store.yaml; without it pages are priced without users."
    )
    deadline_ms: float = Field(default=20.0, gt=0, description="Longest wait for a user's features or price locks.")
    readers: int = Field(default=4, ge=1, description="Reads of user features in flight at once.")
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row that open a store's circuit breaker.")
    breaker_seconds: float = Field(
        default=5.0, gt=0, description="How long the circuit breaker stays open before one trial."
    )
    refresh_seconds: float = Field(default=60.0, gt=0, description="Age at which an item's features are read again.")
    stale_seconds: float = Field(
        default=900.0, gt=0, description="Age from which item features are too old to price on."
    )
    warm_seconds: float = Field(
        default=5.0, ge=0, description="Longest first read of item features before the endpoint is ready."
    )
    chunk: int = Field(default=200, ge=1, description="Items read from the store at a time.")
    price_factor: float = Field(
        default=10.0, gt=1, description="A price or cost this many times off the catalogue's is ignored, and counted."
    )


class KeySettings(BaseSettings):
    """The secrets that sign quotes and hash user ids: from files or the environment, never from options."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_", frozen=True)

    clock_skew_seconds: int = Field(default=30, ge=0, description="Clock difference that verification tolerates.")
    clock_step_back_seconds: int = Field(
        default=3_600, ge=0, description="How far a clock may be set back without refusing the quotes issued before."
    )
    quote_seconds: int = Field(default=900, ge=1, description="Life of a quote.")
    quote_keys_file: Path | None = Field(default=None, description="JSON of signing keys; see serving.keys.")
    quote_keys: str | None = Field(default=None, description="The same JSON, from the environment.", repr=False)
    user_key_file: Path | None = Field(
        default=None, description="Hex secrets that hash user ids, one a line; the first is in use."
    )
    user_key: str | None = Field(default=None, description="The same secrets, from the environment.", repr=False)
    key_check_seconds: float = Field(
        default=10.0, ge=0, description="How often key files are looked at; 0 reads them again only on SIGHUP."
    )


class ApiKeySettings(BaseSettings):
    """Where the keys of clients are."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_", frozen=True)

    api_keys_file: Path | None = Field(
        default=None, description="One accepted bearer key on each line; without it no key is asked for."
    )


class RetentionSettings(BaseSettings):
    """How long what is known of customers is kept; see docs/how-to/erase-a-customer.md."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_RETENTION_", frozen=True)

    query_days: float = Field(
        default=30.0, ge=0, description="Days until what customers typed goes from the quote log; 0: never."
    )
    quote_days: float = Field(
        default=400.0, ge=0, description="Days until quotes go from the log, a year and a month; 0: never."
    )
    lock_hours: float = Field(
        default=1.0, gt=0, description="Hours after the end of a price day until its price locks go, from every store."
    )
    check_hours: float = Field(
        default=6.0,
        ge=0,
        description="How often an endpoint looks through its own quote log for what is too old; 0 leaves that to a job "
        "(`python -m serving.custody retain`).",
    )


class ServingSettings(ApiKeySettings, KeySettings):
    """All settings of an endpoint."""

    model_folder: Path = Field(description="The model folder.")
    decision: Path | None = Field(
        default=None, description="DECISION.json about this model folder, instead of the one enclosed in it."
    )
    trusted_keys: str | None = Field(
        default=None,
        description="Ed25519 public keys in PEM, of which one must have signed the decision; without them no signature "
        "is asked for.",
    )
    trusted_keys_file: Path | None = Field(default=None, description="The same keys, in a file.")
    run_dir: Path = Field(default=Path("run"), description="Where keys, journal and quote log are kept by default.")
    model_name: str = Field(default="fairtag", pattern=r"^[A-Za-z0-9._-]{1,63}$")
    host: str = Field(default="0.0.0.0", description="Address of the HTTP port.")  # noqa: S104 - a container's server
    http_port: int = Field(default=8080, ge=0, le=65_535)
    grpc_port: int = Field(default=8081, ge=-1, le=65_535, description="-1 serves no gRPC.")
    threads: int = Field(default=1, ge=1, description="Threads that price pages; they share one interpreter.")
    workers: int = Field(default=0, ge=0, description="Processes that price pages beside the server's: cores less one.")
    encoder_threads: int = Field(default=1, ge=1, description="Threads of one encode.")
    batch_size: int = Field(default=32, ge=1, description="Most queries encoded together.")
    query_cache: int = Field(default=10_000, ge=0, description="Query embeddings kept.")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of proxies, with commas: `X-Forwarded-For` counts from these alone.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins of web pages that may call the endpoint (CORS), with commas."
    )
    browser_token_seconds: int = Field(default=900, ge=1, description="Longest life of a browser token.")
    price_locks_url: str | None = Field(
        default=None,
        description="redis:// of the price locks that replicas share; without it they stay in the run folder.",
    )
    price_lock_megabytes: float = Field(
        default=128.0, gt=0, description="Memory for price locks; when it is full, invented ids lose theirs first."
    )
    price_lock_items: int = Field(default=5_000, ge=1, description="Most locks of one customer in a price day.")
    price_lock_guests: int = Field(
        default=50_000, ge=0, description="Guests and unknown customers a price day whose locks go to the shared store."
    )
    quote_log: str | None = Field(default=None, description="fsspec URL of the quote log; by default under run_dir.")
    quote_log_rows: int = Field(default=20_000, ge=1, description="Rows that close a file of the quote log.")
    quote_log_seconds: float = Field(default=30.0, gt=0, description="Age that closes a file of the quote log.")
    quote_log_queue: int = Field(default=2_000, ge=1, description="Pages that may wait to be written.")
    policy_store: str | None = Field(
        default=None,
        description="Where the live policy lies that `fairtag policy` and `fairtag stop` write: a folder, s3://, "
        "redis://, postgresql://, or several with commas, of which the longest history counts; by default policy under "
        "run_dir.",
    )
    policy_stale_seconds: float = Field(
        default=3_600.0,
        gt=0,
        description="Age from which a live policy that no store answers for is too old: then everything is at list.",
    )
    policy_keys: str | None = Field(
        default=None,
        description="Ed25519 public keys in PEM, of which one must have signed each version of the live policy; those "
        "of the decision when unset.",
    )
    policy_keys_file: Path | None = Field(default=None, description="The same keys, in a file.")
    policy_seconds: float = Field(
        default=5.0, gt=0, le=30, description="How often the live policy is looked at; a change counts after that."
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, description="How long to keep serving after SIGTERM while traffic moves away."
    )
    grace_seconds: int = Field(default=25, ge=1, description="Longest wait for requests in flight after the drain.")
    watch_seconds: float = Field(
        default=0.0, ge=0, description="How often the model folder is looked at; 0 never reloads."
    )
    wait_seconds: float = Field(
        default=0.0,
        ge=0,
        description="How often to look again for a model folder or a feature store that is not there yet; until then "
        "every answer is 503 and says what is missing. 0 ends with an error instead.",
    )
    seal_seconds: float = Field(
        default=5.0, gt=0, description="How often the files of the served model are looked at for edits in place."
    )
    otlp_endpoint: str | None = Field(
        default=None, description="OpenTelemetry collector, HTTP; without it nothing is traced."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    limits: Limits = Field(default_factory=Limits)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)

    @field_validator("trusted_proxies", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError names the value and the rule
        return networks

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; write scheme, host and port alone, as https://shop.example")
        return origins
