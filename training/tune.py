"""Optional tuning of the trees with Optuna, within a budget of time or of trials, on folds older than those judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SEED = 17
UNITS = {"s": 1, "m": 60, "h": 3600}
_SPAN = re.compile(r"(\d+)([smh]?)")

Parameters = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How much to try: `seconds` of time, or a number of `trials`, which gives the same result every time."""

    seconds: float | None = None
    trials: int | None = None

    @classmethod
    def parse(cls, text: str) -> Tuning:
        """`60s`, `5m` or `1h` is time, a bare number trials. Raises ValueError."""
        match = _SPAN.fullmatch(text.strip())
        if match is None or not int(match[1]):
            raise ValueError(f"{text!r} is no budget; write a time such as 60s or 5m, or a number of trials such as 20")
        return cls(float(int(match[1]) * UNITS[match[2]])) if match[2] else cls(trials=int(match[1]))


def tune(loss: Callable[[Parameters], float], defaults: Parameters, budget: Tuning) -> dict[str, object]:
    """The parameters with the least `loss` among the defaults and what Optuna's TPE suggests, seeded."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
    study.enqueue_trial({name: defaults[name] for name in ("num_leaves", "min_data_in_leaf", "feature_fraction",
                                                           "lambda_l2", "learning_rate")})  # fmt: skip
    study.optimize(lambda trial: loss(_suggested(trial)), n_trials=budget.trials, timeout=budget.seconds)
    return dict(study.best_params)


def _suggested(trial: object) -> Parameters:
    suggest_int, suggest_float = trial.suggest_int, trial.suggest_float  # type: ignore[attr-defined]
    return {
        "num_leaves": suggest_int("num_leaves", 3, 31, log=True),
        "min_data_in_leaf": suggest_int("min_data_in_leaf", 10, 200, log=True),
        "feature_fraction": suggest_float("feature_fraction", 0.2, 1.0),
        "lambda_l2": suggest_float("lambda_l2", 0.1, 100.0, log=True),
        "learning_rate": suggest_float("learning_rate", 0.015, 0.1, log=True),
    }
