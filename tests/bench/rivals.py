"""CPU of a whole decision beside the CPU that model servers take for scoring the same 100 rows alone.

MLServer, BentoML and `mlflow models serve` serve the home's next-offer trees, each from a virtual environment of its
own (their requirements exclude each other) in the folder named by OPPORTUNE_BENCH_RIVALS, each with its own defaults.
Asked as decisions are: the same core, the same connections. One that is not installed is left out with a message.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt

from models.offer_features import PAIR
from tests.bench.loads import HERE, Load, NotUp, Server, serving
from tests.fakes.postgres_server import free_port

Floats = npt.NDArray[np.float64]
VARIABLE = "OPPORTUNE_BENCH_RIVALS"
HOW = """left out: {name} is not in {folder}; to have it:
  python3.11 -m venv {folder}/{name} && {folder}/{name}/bin/pip install {packages}
  {variable}={folder} make bench-decisions"""


@dataclass(frozen=True, slots=True)
class Rival:
    """How one is served and asked. `aim`: so many times a decision's CPU."""

    name: str
    packages: str
    aim: float
    path: str
    start: Callable[[Path, Path], AbstractContextManager[Server]]
    body: Callable[[Floats], object]
    scores: Callable[[dict], object]  # type: ignore[type-arg]


def measure(trees: str, batches: Sequence[Floats], scratch: Path, connections: int, seconds: int) -> list[Load]:
    """Loads of the rivals that are installed. `trees`: LightGBM's text; `batches`: the 100 rows of some requests."""
    folder = Path(os.environ.get(VARIABLE) or "/path/to/rivals").absolute()
    (scratch / "ranker.txt").write_text(trees)
    found = []
    for rival in RIVALS:
        environment = folder / rival.name
        if not (environment / "bin" / "python").exists():
            print(HOW.format(name=rival.name, folder=folder, packages=rival.packages, variable=VARIABLE), flush=True)
            continue
        bodies = scratch / f"{rival.name}.bodies"
        bodies.write_text("".join(json.dumps(rival.body(rows)) + "\n" for rows in batches).replace("NaN", "null"))
        try:
            with rival.start(environment / "bin", scratch) as server:
                _check(rival, server, bodies, lightgbm.Booster(model_str=trees).predict(batches[0]))
                asked = {"BENCH_BODIES": str(bodies), "BENCH_PATH": rival.path}
                server.load(rival.name, "bodies.lua", asked, connections, 3)
                found.append(server.load(rival.name, "bodies.lua", asked, connections, seconds))
        except NotUp as silent:
            print(f"left out: {silent}", flush=True)
    return found


def show(found: Sequence[Load], decision: Load) -> None:
    """A table beside the decision's own CPU."""
    if not found:
        return
    aims = {rival.name: rival.aim for rival in RIVALS}
    print("\n| 100 rows scored alone | requests/s | CPU µs | CPU / a decision's | aim | failed |")
    print("|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one.name} | {one.per_second:,.0f} | {one.cpu:,.0f} | {one.cpu / decision.cpu:.1f} | "
            f"{aims[one.name]:g} | {one.failed} |"
        )
    print(f"| a whole decision | {decision.per_second:,.0f} | {decision.cpu:,.0f} | 1.0 | | {decision.failed} |")


def _check(rival: Rival, server: Server, bodies: Path, expected: Floats) -> None:
    """Before it is measured: the rival scores the rows as LightGBM does."""
    body = bodies.read_bytes().splitlines()[0]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{rival.path}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as response:
        told = rival.scores(json.loads(response.read()))
    np.testing.assert_allclose(np.asarray(told, float).ravel(), expected, rtol=1e-9)


def _mlserver(programs: Path, scratch: Path) -> AbstractContextManager[Server]:
    folder = scratch / "mlserver"
    folder.mkdir()
    port, grpc, metrics = free_port(), free_port(), free_port()
    settings = {"http_port": port, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "ranker",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": str(scratch / "ranker.txt")},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    return serving([str(programs / "mlserver"), "start", str(folder)], port, "/v2/models/ranker/ready", {}, folder)


def _bentoml(programs: Path, scratch: Path) -> AbstractContextManager[Server]:
    port = free_port()
    command = [str(programs / "bentoml"), "serve", "rival_bento:Ranker", "--port", str(port)]
    quiet = {"RANKER_FILE": str(scratch / "ranker.txt"), "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(scratch)}
    return serving(command, port, "/readyz", quiet, HERE)


def _mlflow(programs: Path, scratch: Path) -> AbstractContextManager[Server]:
    port, folder = free_port(), str(scratch / "mlflow-model")
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    save = [str(programs / "python"), str(HERE / "rival_mlflow.py"), str(scratch / "ranker.txt"), folder]
    subprocess.run(save, check=True, capture_output=True, env=os.environ | environment)
    options = ["-m", folder, "--env-manager", "local", "--port", str(port)]
    return serving([str(programs / "mlflow"), "models", "serve", *options], port, "/ping", environment, scratch)


def _inference_request(rows: Floats) -> object:
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    return {"inputs": [tensor]}


RIVALS = (
    Rival("mlserver", "mlserver mlserver-lightgbm lightgbm 'uvloop<0.22'", 6, "/v2/models/ranker/infer", _mlserver,
          _inference_request, lambda told: told["outputs"][0]["data"]),
    Rival("bentoml", "bentoml lightgbm", 10, "/predict", _bentoml,
          lambda rows: {"rows": rows.tolist()}, lambda told: told),
    Rival("mlflow", "mlflow lightgbm", 15, "/invocations", _mlflow,
          lambda rows: {"dataframe_split": {"columns": PAIR, "data": rows.tolist()}}, lambda told: told["predictions"]),
)  # fmt: skip
