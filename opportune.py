"""The command line: one door to everything. Each command imports its part only when it runs."""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer(
    help="The right offer, at the opportune moment, in words that a person approved.",
    epilog="""Begin with 'opportune init DIR' and 'cd DIR'; 'opportune doctor' says what comes next. 'opportune COMMAND
    --help' tells more of each. State lies in OPPORTUNE_HOME (./.opportune), settings are opportune.toml of this folder,
    or variables. Exit status: 0 done, 1 failed (one sentence on standard error), 2 wrong usage.""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
app.add_typer(keys, name="keys")
Model = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="lead, churn, winback, send-time, next-offer, one of propensities.toml, or all",
        show_default=False,
    ),
]

OneModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="as in 'opportune train', or uplift-PLACEMENT", show_default=False)
]


class Engine(StrEnum):
    """Where the buckets of feature tables are computed."""

    LOCAL = "local"
    RAY = "ray"


_UTF8 = "PYTHONUTF8"
AsOf = Annotated[str | None, typer.Option("--as-of", help="as of which time, such as 2026-01-31T09:30:00Z [now]")]


def main() -> None:
    """Runs a command: exit status 0 done, 1 failed (one sentence on standard error), 2 wrong usage."""
    _read_utf8()
    if os.environ.get("OPPORTUNE_DEBUG"):
        app(prog_name="opportune")
    try:
        app(prog_name="opportune", standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        print(f"opportune: {_sentence(error)}{_of_a_full_disk(error)}", file=sys.stderr)
        sys.exit(1)


def _read_utf8() -> None:
    """Begins again in Python's UTF-8 mode where the locale has another encoding: Polars and our files have none."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get(_UTF8) != "1":
        os.environ[_UTF8] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _sentence(error: Exception) -> str:
    """One line that says what is wrong; OPPORTUNE_DEBUG=1 shows the whole trace instead."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"{error.name} is not installed; install what commands need: pip install 'opportune[train,demo]'"
    if isinstance(error, MemoryError) or "failed to map segment" in str(error):  # the latter of a library's own code
        return "the memory did not suffice; give this more, or end what else runs here, then again"
    if isinstance(error, OSError) and "libgomp" in str(error):  # LightGBM's, and torch brings none
        return f"{error}; install it: apt-get install libgomp1"
    unread = re.match(r'error parsing value for field "(\w+)"', str(error))  # pydantic-settings', of a variable
    if unread:
        from service.wrong_settings import no_json

        return no_json(unread[1], os.environ)
    if getattr(error, "title", None) == "Settings":
        from service.wrong_settings import in_words

        return in_words(error)  # type: ignore[arg-type]
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic's
        first = errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
    told = str(getattr(error, "detail", None) or error).strip().splitlines()[0] if str(error) else repr(error)
    return told + (_cause(error) if type(error).__name__ in {"Unavailable", "StoreAway"} else "")


def _cause(error: Exception) -> str:
    from service.errors import cause_of

    return cause_of(error)


_LEAST_FREE = 16_000_000
_homes: list[Path] = []
"""Where the command that runs writes, once its settings are read."""


def _of_a_full_disk(error: Exception) -> str:
    """What to do where there is no room: SQLite and Parquet say only that something could not be written."""
    if isinstance(error, ValueError):  # refused, not failed
        return ""
    from features.files import free_bytes

    for folder in (*_homes, Path.cwd()):
        free = free_bytes(folder)
        if free < _LEAST_FREE:
            return f"; only {free / 1e6:.1f} MB are free for {folder}: make room, then again"
    return ""


def _settings(**overrides: Any) -> Settings:
    from service.settings import Settings
    from service.telemetry import silence_dependencies

    silence_dependencies()
    settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    _homes[:] = [settings.home.absolute()]
    os.environ.update(settings.features_environment)  # as these:
    own = {"FEATURES": settings.features_path, "PROPENSITIES": settings.propensities_path}
    for what, path in own.items():  # before anything imports features or models, here and in child processes
        if path is not None:
            os.environ[f"OPPORTUNE_{what}_FILE"] = str(path)
    return settings


def _time(text: str | None, settings: Settings) -> datetime:
    from datetime import UTC

    from service.clock import clock_from
    from service.times import read_time

    now = clock_from(settings.clock).now()
    if text is None:
        return now
    try:
        moment = read_time(text)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= moment <= now:  # tables of a year mistyped would be the newest for ever
        raise typer.BadParameter(f"{text} does not lie between 1970 and now, {now:%Y-%m-%dT%H:%M:%SZ}")
    return moment


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="where the service will answer; taken: the next free one")] = 8000,
    exit_: Annotated[bool, typer.Option("--exit", help="end after the report")] = False,
) -> None:
    """Load real data, train, serve, simulate a month, and report."""
    settings = _settings()
    from training.demo.run import run_demo

    run_demo(home=settings.home.absolute(), port=port, exit_after=exit_)


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="made if need be", show_default=False)]) -> None:
    """Write a commented opportune.toml and example files.

    Its README.md says how to go on. Files that are there already stay as they are.
    """
    from service.starter import write_starter

    for path in write_starter(folder):
        print(path)
    print(f"now: cd {folder}; its README.md says how to go on", file=sys.stderr)


@app.command(epilog="Example: opportune ingest orders.csv --mapping mapping.toml --offers offers.jsonl")
def ingest(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="files of events, or folders", show_default=False)
    ] = None,
    offers: Annotated[Path | None, typer.Option(help="an offer catalogue, JSON or JSONL")] = None,
    mapping: Annotated[Path | None, typer.Option(help="column mapping (TOML) for CSV and Parquet")] = None,
) -> None:
    """Read events and offers from files.

    Events as Segment's JSONL, or CSV and Parquet through a column mapping ('opportune init' writes an example); offers
    as JSON or JSONL. Lines that cannot be read go to PATH.rejects.jsonl, each with its reason. A file that was read
    before is not read again; with another mapping, the new reading replaces the old one.
    """
    if not paths and offers is None:
        raise typer.BadParameter("name at least one PATH, or --offers FILE")
    from service.commands import ingest_command

    ingest_command(_settings(), paths or [], offers, mapping)


@app.command()
def requeue() -> None:
    """Try events again that were set aside (mend the cause first)."""
    from service.commands import requeue_command

    requeue_command(_settings())


@app.command()
def skew(sample: Annotated[int, typer.Option(min=1, help="how many decisions")] = 200) -> None:
    """Check served features against the event log.

    Exit status 1 when one differs.
    """
    settings = _settings()
    from service.commands import skew_command

    if not skew_command(settings, sample):
        raise typer.Exit(1)


@app.command()
def drift(sample: Annotated[int, typer.Option(min=1, help="how many customers")] = 500) -> None:
    """Compare what models see, say and promise with training.

    Exit status 1 when something has moved.
    """
    settings = _settings()
    from service.commands import drift_command

    if not drift_command(settings, sample):
        raise typer.Exit(1)


@app.command(epilog="Examples: opportune features --backfill 90; opportune features --explain orders_90d")
def features(
    as_of: AsOf = None,
    backfill: Annotated[int, typer.Option(help="also build so many days before", min=0, max=3_660)] = 0,
    engine: Annotated[Engine, typer.Option(help="where buckets are computed")] = Engine.LOCAL,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; without one Ray runs here")] = None,
    explain: Annotated[
        str | None, typer.Option(help="say what one feature means, and its distribution; 'all' lists them")
    ] = None,
) -> None:
    """Build the feature tables and load the online store.

    Run it daily: it reads the events of the files that are new, and goes on where it was stopped.
    """
    if address and engine is not Engine.RAY:
        raise typer.BadParameter("--address is of a Ray cluster; add --engine ray")
    settings = _settings()
    moment = _time(as_of, settings) if as_of else None
    if moment is not None and moment.microsecond:  # their folders are named by the second: one would replace another
        raise typer.BadParameter(f"tables are as of whole seconds; write {moment:%Y-%m-%dT%H:%M:%SZ}")
    from service.commands import explain_feature, features_command

    if explain:
        explain_feature(settings, explain)
    else:
        features_command(settings, moment, backfill, engine.value, address)


@app.command(epilog="Examples: opportune train all; opportune train churn --tune 5m")
def train(
    models: Model,
    as_of: AsOf = None,
    tune: Annotated[
        str | None,
        typer.Option(help="try other tree parameters for so long (60s, 5m), or so many (20), per propensity"),
    ] = None,
) -> None:
    """Train, log, register, and promote through the gate.

    Trains on the events until --as-of, keeps each model as a version in MLflow, and makes it the champion only if it
    does better than plain baselines and the champion. With too little data it says how much is lacking.
    """
    settings = _settings()
    from service.commands import Progress, export_command
    from training.train import expand, say
    from training.train import train as train_models
    from training.tune import Tuning

    try:
        wanted = expand(models)
        tuning = Tuning.parse(tune) if tune else None
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong
    moment = _time(as_of, settings)
    export_command(settings)
    bar = Progress()
    results = train_models(wanted, settings.home.absolute(), settings.tracking_uri, moment, bar.show, tuning)
    bar.end()
    for result in results:
        print(say(result))


@app.command(
    epilog="Example: opportune uplift spring --file test.csv --treatment arm --treated mail --control none "
    "--outcome bought"
)
def uplift(
    placement: Annotated[
        str, typer.Argument(metavar="PLACEMENT", help="a placement, or a name for your own test", show_default=False)
    ],
    file: Annotated[
        Path | None, typer.Option(help="your own randomized test: Parquet or CSV, a row a customer")
    ] = None,
    treatment: Annotated[str, typer.Option(help="the file's column of who was treated (0/1, or texts)")] = "treated",
    treated: Annotated[str | None, typer.Option(help="the text that means treated")] = None,
    control: Annotated[
        str | None, typer.Option(help="the text that means not treated; other arms are left out")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="a column not to learn from, such as a later result")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="the file's column of 0/1, or an event of the log [ordered]", show_default=False)
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, help="days after the first decision in which the event counts")] = 14,
    value: Annotated[float | None, typer.Option(help="what one outcome earns [the offers' mean]")] = None,
    cost: Annotated[float | None, typer.Option(min=0, help="what one contact costs [the offers' mean]")] = None,
    as_of: AsOf = None,
) -> None:
    """Learn whom contact changes, from a randomized test.

    The test is a placement's random and holdout arms, or your own file.

    Registers opportune-uplift-PLACEMENT and writes reports/uplift/PLACEMENT.json and .png. Where customers do not
    differ beyond chance it says so, and nothing is promoted. A file with the columns customer_id and as_of is joined
    with the features of the event log as of then; else its other columns are what is learnt from.
    """
    settings = _settings()
    if value is not None and not value > 0:
        raise typer.BadParameter("--value must be above 0")
    if file is not None and outcome is None:
        raise typer.BadParameter("name the file's column of results with --outcome")
    from datetime import timedelta

    from service.commands import Progress, export_command
    from training.uplift import train_uplift
    from training.uplift_data import Columns, OfFile, OfLog
    from training.uplift_report import lines

    test: OfFile | OfLog = OfLog(outcome or "ordered", timedelta(days=horizon))
    if file is not None:
        test = OfFile(file, Columns(treatment, outcome or "", treated, control, tuple(ignore or ())))
    moment = _time(as_of, settings)
    export_command(settings)
    bar = Progress()
    _, report = train_uplift(
        settings.home.absolute(),
        settings.tracking_uri,
        placement,
        test=test,
        value=value,
        cost=cost,
        as_of=moment,
        progress=bar.show,
    )
    bar.end()
    if "version" not in report:
        raise ValueError("\n".join(lines(report)))
    for line in lines(report):
        print(line)


@app.command(epilog="Example: opportune promote churn 3")
def promote(
    model: OneModel,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="as MLflow and /models name it", show_default=False)
    ],
) -> None:
    """Make a version the champion: it serves within 10 s."""
    settings = _settings()
    from training.tracking import promote as move

    print(move(settings.tracking_uri, model, version))


@app.command()
def rollback(model: OneModel) -> None:
    """Make the champion before this one the champion again."""
    settings = _settings()
    from training.tracking import rollback as move

    print(move(settings.tracking_uri, model))


@app.command(epilog="Example: opportune score --out scores.parquet")
def score(out: Annotated[Path, typer.Option(help="a Parquet file")] = Path("scores.parquet")) -> None:
    """Write every customer's scores and ranked actions to Parquet."""
    if out.is_dir():
        raise typer.BadParameter(f"{out} is a folder; name a file in it")
    if out.suffix.lower() not in {"", ".parquet", ".pq"}:
        raise typer.BadParameter(f"scores are written as Parquet; name a file {out.with_suffix('.parquet')}")
    settings = _settings()
    from service.commands import score_command

    score_command(settings, out)


@app.command(epilog="Example: opportune impact email.weekly")
def impact(
    placement: Annotated[
        str | None, typer.Argument(metavar="PLACEMENT", help="of this one alone", show_default=False)
    ] = None,
) -> None:
    """Tell what decisions bring.

    Beside the arms where it is chosen by chance, where business goes on as usual, and where nothing is sent.
    """
    from service.commands import impact_command

    for line in impact_command(_settings(), placement):
        print(line)


@app.command(epilog="Example: opportune evaluate greedy")
def evaluate(
    policy: Annotated[
        str,
        typer.Argument(metavar="POLICY", help="uniform, greedy, business-as-usual or challenger", show_default=False),
    ],
) -> None:
    """Estimate what another policy would have earned.

    From the decision log: nobody gets anything by it. The log needs decisions with their outcomes.
    """
    settings = _settings()
    from service.commands import export_command
    from training.evaluate import evaluate as estimate

    export_command(settings)
    try:
        report = estimate(policy, settings.home.absolute(), settings.decisions.attribution_days)
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown)) from unknown
    if report.refused:
        raise ValueError(str(report))
    print(report)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="the address to answer at [the setting `host`]")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="and its port [the setting `port`]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes; shared state is safe with any number")] = 1,
) -> None:
    """Answer the API and the pages.

    Until it is ended (Ctrl+C, SIGTERM). It also applies what comes in, and takes up models as they are promoted.
    """
    settings = _settings(host=host, port=port)
    from service.serve import serve as run

    run(settings, workers)


@app.command()
def worker() -> None:
    """Run the journeys: move what is due, send, retry.

    In a process of its own, beside 'opportune serve', until it is ended (Ctrl+C, SIGTERM).
    """
    settings = _settings()
    from service.worker import run

    run(settings)


@app.command()
def doctor(
    adopt_home: Annotated[
        bool, typer.Option("--adopt-home", help="first make this home the one that the database belongs to")
    ] = False,
) -> None:
    """Check every part, and say what to do.

    A line a part: ok, note (may stay as it is) or fail; at the end the next step of setting up, while there is one.
    Exit status 1 when something fails.
    """
    settings = _settings()
    from service.doctor import adopt, examine

    if adopt_home:
        print(adopt(settings))
    sys.exit(examine(settings))


@keys.command("create", epilog="Example: opportune keys create --scope ingest decide --label shop")
def keys_create(
    scope: Annotated[
        list[str],
        typer.Option(help="ingest (events), decide (decisions), review (pages, copy) or admin (all); one or several"),
    ],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="SCOPE", help="further scopes", show_default=False)
    ] = None,
    label: Annotated[str, typer.Option(help="who uses it")] = "",
) -> None:
    """Make a key: alone on standard output, shown once, stored hashed."""
    from service.commands import create_key_command
    from service.web.auth import SCOPES

    scopes = [part for given in (*scope, *(more or ())) for part in given.split(",")]
    unknown = [name for name in scopes if name not in SCOPES]
    if unknown:
        raise typer.BadParameter(f"no scope {unknown[0]!r}; choose from {', '.join(SCOPES)}")
    print(create_key_command(_settings(), tuple(dict.fromkeys(scopes)), label))


@keys.command("list")
def keys_list() -> None:
    """Show every key but its secret."""
    from service.commands import list_keys_command

    for line in list_keys_command(_settings()):
        print(line)


@keys.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="as 'opportune keys list' shows it")],
) -> None:
    """End a key; it opens nothing within seconds."""
    from service.commands import revoke_key_command

    revoke_key_command(_settings(), key_id)


if __name__ == "__main__":
    main()
