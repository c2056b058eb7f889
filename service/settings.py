"""Every setting, from `opportune.toml` and over it `OPPORTUNE_*` variables (nested with `__`)."""

from __future__ import annotations

import json
import os
import re
import tomllib
from datetime import time
from decimal import Decimal
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from features import default_zone
from features.channels import CHANNELS
from features.currencies import Currencies
from service.clock import clock_from
from service.times import Period

_NAMED = "OPPORTUNE_CONFIG"
_DATABASES = ("postgresql", "postgres", "postgresql+psycopg", "sqlite")
_ELSEWHERE = "set OPPORTUNE_HOME to a folder that can"
_REDIS = ("redis", "rediss", "unix")
MOST_LOOKED_BACK = 14.0
"""Days back to which records are read to learn from outcomes and to check served features. Drift compares what models
promised with what came of it, and asks for their whole horizon: with fewer days it says nothing of that."""
MOST_SITUATIONS = 16
"""Values of `situations`: what is learnt of an offer grows with their square."""


def _known_channel(name: str) -> str:
    if name not in CHANNELS:
        raise ValueError(f"there is no channel {name!r}; use {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}")
    return name


Channel = Annotated[str, AfterValidator(_known_channel)]


class Section(BaseModel):
    """A table of the file. A name that is not known is an error: a typing slip must not be a silent default."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Arms(Section):
    """Shares of customers in each arm of a placement; they sum to 1."""

    model: float = Field(0.85, ge=0, le=1)
    random: float = Field(0.05, ge=0, le=1)
    business_as_usual: float = Field(0.05, ge=0, le=1)
    holdout: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> Arms:
        total = self.model + self.random + self.business_as_usual + self.holdout
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of the arms sum to {total:g}; make them sum to 1")
        return self


class Steer(Section):
    """A business rule of the ranker, for the offers named, with a tag or in a category named, where `when` holds."""

    name: str = Field(min_length=1, max_length=100)
    do: Literal["pin", "boost", "bury", "exclude"]
    offers: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    when: str | None = None
    place: int = Field(1, ge=1, le=100)
    factor: float = Field(1.0, gt=0, le=1_000)

    @model_validator(mode="after")
    def _is_about_something(self) -> Steer:
        if not (self.offers or self.tags or self.categories or self.when):
            raise ValueError(f"the rule {self.name!r} is about no offer: name offers, tags, categories or a `when`")
        return self


class Diversity(Section):
    """At most so many different offers of one category, or with one tag, in an answer."""

    max_per_category: int | None = Field(None, ge=1)
    max_per_tag: int | None = Field(None, ge=1)


class Placement(Section):
    """Where actions are shown or sent. `business_as_usual` is the offer that the old way would send."""

    arms: Arms = Field(default_factory=Arms)
    channels: list[Channel] = Field(default_factory=lambda: list(CHANNELS))
    business_as_usual: str | None = None
    rules: list[Steer] = Field(default_factory=list)
    diversity: Diversity = Field(default_factory=Diversity)
    purpose: str = Field("marketing", pattern=r"^[a-z][a-z_]{0,40}$")

    @field_validator("channels")
    @classmethod
    def _there_is_a_channel(cls, channels: list[str]) -> list[str]:
        if not channels:
            raise ValueError("is empty, so nothing could be shown; name a channel, or leave it out for all of them")
        return channels


class Cap(Section):
    """At most `max` messages a customer in any `per_days` days, or `per` calendar's day, week or month in their zone.

    On one channel or on all together; in one placement or in all together.
    """

    channel: Channel | None = None
    placement: str | None = None
    max: int = Field(ge=0)
    per_days: float | None = Field(None, gt=0, le=3_660)
    per: Period | None = None

    @model_validator(mode="after")
    def _one_window(self) -> Cap:
        if (self.per is None) == (self.per_days is None):
            raise ValueError("a cap has either per_days, or per = calendar_day, calendar_week or calendar_month")
        return self


class CoolDown(Section):
    """Nothing for `days` after a purchase or a complaint: in a placement, by a channel, with a tag (or any)."""

    after: Literal["purchase", "complaint"]
    days: float = Field(gt=0, le=3_660)
    placement: str | None = None
    channel: Channel | None = None
    tag: str | None = None


class QuietHours(Section):
    """No message between these local times, in the customer's zone."""

    start: time = time(21, 0)
    end: time = time(8, 0)
    channels: list[Channel] = Field(default_factory=lambda: ["email", "sms", "push", "call"])

    @field_validator("start", "end")
    @classmethod
    def _of_no_zone(cls, local: time) -> time:
        if local.tzinfo is not None:
            raise ValueError("has an offset; quiet hours are times of each customer's own zone, as 21:00:00")
        return local


class Consent(Section):
    """What to assume of a channel on which the customer has said nothing: `allow` (a soft opt-in) or `deny`."""

    when_unknown: Literal["allow", "deny"] = "allow"


class Goals(Section):
    """What counts: weight of P(order) x value, and what a human click and a redemption are worth in themselves."""

    conversion: float = Field(1.0, ge=0)
    click: float = Field(0.0, ge=0)
    redemption: float = Field(0.0, ge=0)


class Decisions(Section):
    """How offers are weighed. Money is in the home currency (`currency`)."""

    explore_by: Literal["squarecb", "thompson", "epsilon_greedy"] = "squarecb"
    exploration: float = Field(8.0, gt=0)
    calms_after: float = Field(50_000.0, ge=0)
    epsilon: float = Field(0.1, ge=0, le=1)
    evidence: float = Field(100.0, gt=0)
    floor: float = Field(0.001, ge=0, lt=0.5)
    explore_hours: float = Field(0.05, ge=0, lt=0.5)
    fatigue_cost: float = Field(0.01, ge=0)
    value_of_nothing: float = 0.0
    goals: Goals = Field(default_factory=Goals)
    reservation_hours: float = Field(48.0, gt=0, le=87_840)
    attribution_days: float = Field(14.0, gt=0, le=3_660)
    impact_days: float = Field(28.0, gt=0, le=365)
    learn_online: bool = True
    situations: dict[str, list[str]] = Field(default_factory=dict)
    caps: list[Cap] = Field(default_factory=lambda: [Cap(channel=None, max=2, per_days=7)])
    cool_downs: list[CoolDown] = Field(default_factory=list)
    durable: bool = True
    keep_records_days: float = Field(0.0, ge=0, le=36_600)
    time_budget_ms: float = Field(5_000, ge=0, le=600_000)
    seed: str = "opportune"

    @field_validator("situations", mode="before")
    @classmethod
    def _as_requests_write_them(cls, told: object) -> object:
        """Numbers, true and false may be written as such."""
        if not isinstance(told, dict):
            return told
        return {
            field: [json.dumps(one) if isinstance(one, bool | int | float) else one for one in values]
            if isinstance(values, list)
            else values
            for field, values in told.items()
        }

    @field_validator("situations")
    @classmethod
    def _few_situations(cls, told: dict[str, list[str]]) -> dict[str, list[str]]:
        for field, values in told.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", field):
                raise ValueError(f"{field!r} is no name of a field of the context; use letters, digits, _, - and .")
            if not values or len(set(values)) < len(values) or not all(0 < len(one) <= 100 for one in values):
                raise ValueError(f"{field} must list values, each once, of 1 to 100 characters")
        if (many := sum(map(len, told.values()))) > MOST_SITUATIONS:
            raise ValueError(
                f"lists {many} values; {MOST_SITUATIONS} in all is the most, as each is learnt for each offer: list "
                "those that matter most, the others are learnt together"
            )
        return told

    @model_validator(mode="after")
    def _records_are_there_to_learn_from(self) -> Decisions:
        least = max(MOST_LOOKED_BACK, self.attribution_days)
        if 0 < self.keep_records_days < least:
            raise ValueError(
                f"keep_records_days is {self.keep_records_days:g}; learning and checks look {least:g} days back: "
                "give at least so many, or 0 to keep records for good"
            )
        return self


class TextModel(Section):
    """Any OpenAI-compatible endpoint for copy. Without a base URL or key, templates write the copy."""

    base_url: str | None = None
    api_key: SecretStr | None = None
    model: str = "gpt-4.1-mini"
    timeout_s: float = Field(20.0, gt=0, le=120)


class Smtp(Section):
    """Where the e-mail channel delivers. Without a host, messages go to files in `outbox/`."""

    host: str | None = None
    port: int = Field(25, ge=1, le=65535)
    user: str | None = None
    password: SecretStr | None = None
    sender: str = "Opportune <opportune@localhost>"
    start_tls: bool = False
    timeout_s: float = Field(10.0, gt=0, le=120)
    data_timeout_s: float = Field(120.0, gt=0, le=600)

    @field_validator("sender")
    @classmethod
    def _an_address(cls, sender: str) -> str:
        if "@" not in parseaddr(sender)[1]:
            raise ValueError(f"{sender!r} is no address; write it as 'Shop <shop@example.org>'")
        return sender


class Webhook(Section):
    """Where the webhook channel posts, signed as Standard Webhooks by `secret`: one, or several with blanks between."""

    url: str | None = None
    secret: SecretStr | None = None
    allow_private: bool = False
    timeout_s: float = Field(10.0, gt=0, le=60)

    @model_validator(mode="after")
    def _posts_are_signed(self) -> Webhook:
        if self.url and not self.secret:  # messages would go to files, and count as sent
            raise ValueError("url is set, but no secret, by which posts are signed; set secret = 'whsec_…', or no url")
        return self


class Copy(Section):
    """What copy must keep to."""

    max_sms_segments: int = Field(3, ge=1)
    sms_opt_out: bool = False
    unsubscribe_in_body: bool = False


class Pages(Section):
    """`open` lets anyone who reaches the port read and review without signing in: for trying on loopback only."""

    open: bool = False


def _currency(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError(f"{code!r} is no currency; write its three capitals, such as EUR")
    return code


def _country(code: str) -> str:
    if not re.fullmatch("[A-Z]{2}", code):
        raise ValueError(f"{code!r} is no country; write its two capitals, such as DE")
    return code


Currency = Annotated[str, AfterValidator(_currency)]
Country = Annotated[str, AfterValidator(_country)]


class Retention(Section):
    """How long people are remembered who never said who they are; 0: for good."""

    anonymous_days: float = Field(540.0, ge=0, le=36_600)

    @field_validator("anonymous_days")
    @classmethod
    def _is_no_slip(cls, days: float) -> float:
        if 0 < days < 30:
            raise ValueError("give at least 30 days, or 0 to remember visitors for good")
        return days


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix="OPPORTUNE_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    home: Path = Path(".opportune")
    database_url: str | None = None
    online_store: str | None = None
    mlflow_tracking_uri: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    public_url: str | None = None
    clock: str = "system"
    default_timezone: str = "UTC"
    default_locale: str = "en"
    default_country: Country | None = None
    currency: Currency = "USD"
    currencies: dict[Currency, Annotated[Decimal, Field(gt=0, lt=10**9)]] = Field(default_factory=dict)
    placements: dict[str, Placement] = Field(default_factory=dict)
    quiet_hours: QuietHours = Field(default_factory=QuietHours)
    consent: Consent = Field(default_factory=Consent)
    decisions: Decisions = Field(default_factory=Decisions)
    retention: Retention = Field(default_factory=Retention)
    text_model: TextModel = Field(default_factory=TextModel)
    smtp: Smtp = Field(default_factory=Smtp)
    webhook: Webhook = Field(default_factory=Webhook)
    content: Copy = Field(default_factory=Copy)
    pages: Pages = Field(default_factory=Pages)
    event_names: dict[str, str] = Field(default_factory=dict)
    text_vectors: bool = True
    features_file: Path | None = None
    propensities_file: Path | None = None
    link_words_file: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        if _NAMED in os.environ and not config_file().is_file():  # defaults would let go what its rules stop
            raise ValueError(f"{_NAMED} names {config_file()}, which is no file; correct or unset it")
        try:
            written = TomlConfigSettingsSource(settings_cls, config_file())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise ValueError(f"{config_file()} cannot be read as TOML: {fault}") from fault
        return init_settings, env_settings, written

    @field_validator("home")
    @classmethod
    def _home_is_a_folder(cls, home: Path) -> Path:
        if home.exists() and not home.is_dir():
            raise ValueError(f"{home} is a file; name a folder, which is made where there is none")
        if home.is_symlink() and not home.exists():  # of a disk that is not mounted, say
            raise ValueError(f"{home} is a link to {home.readlink()}, which is not there; make or mount that")
        if {"?", "%"}.intersection(str(home.absolute())):  # of its databases' URLs neither is read as a letter
            raise ValueError(
                f"{home.absolute()} has ? or % in it, so that its databases would lie elsewhere; rename it"
            )
        return home

    @field_validator("database_url", "online_store")
    @classmethod
    def _of_a_kind_that_there_is(cls, url: str | None, info: ValidationInfo) -> str | None:
        kinds = _DATABASES if info.field_name == "database_url" else (*_DATABASES, *_REDIS)
        kind, found, _ = (url or "").partition("://")
        if url is not None and (kind not in kinds or not found):
            known = "postgresql://" if kinds is _DATABASES else "postgresql:// or redis://"
            told = f"begins with {kind!r}" if found else "has no ://"  # else its beginning may be a password
            raise ValueError(f"{told}; use {known}, or leave it out for SQLite in the home folder")
        if kind in _REDIS and not _has_a_port(url or ""):  # of the driver's own words a part may be the password
            raise ValueError("has no port that is a number; in a password write / ? # @ as %2F %3F %23 %40")
        return url

    @field_validator("public_url")
    @classmethod
    def _an_address_of_the_web(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://host")
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ValueError(f"{url!r} is no address that links can begin with; write it as https://shop.example.org")
        return url

    @field_validator("clock")
    @classmethod
    def _there_is_such_a_clock(cls, clock: str) -> str:
        clock_from(clock)
        return clock

    @field_validator("default_timezone")
    @classmethod
    def _there_is_such_a_zone(cls, name: str) -> str:
        if default_zone.known_zone(name) is None:
            raise ValueError(f"there is no time zone {name!r}; give an IANA name such as Europe/Berlin")
        return name

    @model_validator(mode="after")
    def _open_pages_stay_on_loopback(self) -> Settings:
        if self.pages.open and self.host not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError("pages.open is for loopback only; bind host to 127.0.0.1 or set pages.open = false")
        return self

    def make_home(self) -> Path:
        """The home folder, made where there is none. ValueError where nothing can be written there."""
        home = self.home.absolute()
        try:
            home.mkdir(0o700, parents=True, exist_ok=True)  # what is known of customers is not for every user here
        except OSError as fault:
            raise ValueError(f"{home} cannot be made ({fault.strerror}); {_ELSEWHERE}") from fault
        if not os.access(home, os.W_OK):
            raise ValueError(f"{home} cannot be written; {_ELSEWHERE}")
        return home

    def placement(self, name: str) -> Placement:
        """The placement's own settings, else those of `default`, else the defaults."""
        return self.placements.get(name) or self.placements.get("default") or Placement()

    @property
    def state_url(self) -> str:
        """SQLAlchemy URL of the shared state."""
        if self.database_url:
            return self.database_url.replace("postgres://", "postgresql://", 1).replace(
                "postgresql://", "postgresql+psycopg://", 1
            )
        return f"sqlite:///{self.home.absolute() / 'state.db'}"

    @property
    def online_url(self) -> str:
        """Where packed feature rows live: Redis or Postgres by URL, else a SQLite file."""
        return self.online_store or self.database_url or str(self.home.absolute() / "online.db")

    @property
    def features_environment(self) -> dict[str, str]:
        """The variables by which features know of these settings: see `currencies` and `default_zone` there."""
        return self.money.environment() | {default_zone.VARIABLE: self.default_timezone}

    @property
    def money(self) -> Currencies:
        """The currency in which money is added up, and the worth of others in it."""
        return Currencies(self.currency, self.currencies)

    @property
    def features_path(self) -> Path | None:
        """The file of the installation's own features: `features_file`, else `features.toml` beside the settings."""
        return _own(self.features_file, "features.toml")

    @property
    def propensities_path(self) -> Path | None:
        """The file of its own propensities: `propensities_file`, else `propensities.toml` beside the settings."""
        return _own(self.propensities_file, "propensities.toml")

    @property
    def link_words_path(self) -> Path | None:
        """The file of its own words behind unsubscribe links: `link_words_file`, else `link_words.toml` there."""
        return _own(self.link_words_file, "link_words.toml")

    @property
    def base_url(self) -> str:
        """Where others reach this service: `public_url`, else the address it listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host  # RFC 3986, section 3.2.2
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"


def _has_a_port(url: str) -> bool:
    """Whether its port, if it names one, is a number."""
    try:
        return urlsplit(url).port is not False
    except ValueError:
        return False


def _own(named: Path | None, default: str) -> Path | None:
    """A file of the installation's own: the one named, else the default beside the settings, where there is one."""
    beside = config_file().with_name(default)
    return named.absolute() if named else beside.absolute() if beside.exists() else None


def config_file() -> Path:
    """`OPPORTUNE_CONFIG`, which must exist, else `opportune.toml` in the current folder, which need not."""
    return Path(os.environ.get(_NAMED, "opportune.toml"))
