"""Off-policy estimates beside the Open Bandit references: `make bench-off_policy`.

Takes the data's folder by OPPORTUNE_BENCH_DATA (open_bandit/random/all/all.csv.gz), and the prior of the policy in
question from the package `obp` (pip install --no-deps obp; it is read, not imported). The log is by chance; the
policy is Bernoulli Thompson sampling at ZOZOTOWN's prior, whose probabilities come from 100,000 draws of a fixed seed.
References as `obp` publishes them (Saito et al. 2021): they have six decimals, and ours must be equal in all of them.
DR and SNDR hang on a regression, and its published figures on how its trees or solver were drawn: so they are compared
with obp's own estimators on the same predictions (`pip install --no-deps obp seaborn`; smoothed click rates of item and
position).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from training.off_policy import Floats, Ints, estimates, weights_of

LOG = Path("open_bandit") / "random" / "all" / "all.csv.gz"
PRIOR = Path("policy") / "conf" / "prior_bts.yaml"
ITEMS, POSITIONS, DRAWS, SEED = 80, 3, 100_000, 12_345
REFERENCES = {"IPS": 0.004553, "SNIPS": 0.004776}
WITHIN = 1e-6


def run() -> bool | None:
    """Prints ours and theirs; False where they differ, None where data or prior are missing."""
    log = Path(os.environ.get("OPPORTUNE_BENCH_DATA", "")) / LOG
    found = importlib.util.find_spec("obp")
    prior = None if found is None or found.origin is None else Path(found.origin).parent / PRIOR
    if not log.is_file():
        print(f"left out: no {log}; set OPPORTUNE_BENCH_DATA to a folder with {LOG}")
        return None
    if prior is None or not prior.is_file():
        print("left out: the policy's prior is not here; pip install --no-deps obp")
        return None
    rows = pl.read_csv(log)
    policy = thompson(prior)
    chances = policy[rows["item_id"].to_numpy(), rows["position"].to_numpy() - 1]
    clicks = rows["click"].to_numpy().astype(np.float64)
    each = np.arange(rows.height)
    w, weights = weights_of(chances, rows["propensity_score"].to_numpy(), each)
    nothing = np.zeros(rows.height)
    told = {one.name: one for one in estimates(w, clicks, nothing, nothing, each)}
    print(f"{rows.height:,} choices by chance, {clicks.mean():.4%} clicks; effective {weights.effective:,.0f}, "
          f"largest weight {weights.largest:.1f}, mean weight {weights.mean:.3f}")  # fmt: skip
    for name, reference in REFERENCES.items():
        one = told[name]
        print(f"{name:<6} {one.value:.6f}, reference {reference:.6f}; 95% {one.low:.6f} to {one.high:.6f}")
    equal = all(abs(told[name].value - reference) < WITHIN for name, reference in REFERENCES.items())
    return doubly_robust(rows, policy, w, clicks, each) is not False and equal


def doubly_robust(rows: pl.DataFrame, policy: Floats, w: Floats, clicks: Floats, each: Ints) -> bool | None:
    """DR and SNDR beside obp's on the same predicted rewards; None where obp cannot be imported."""
    try:
        from obp.ope import DoublyRobust, SelfNormalizedDoublyRobust
    except ImportError as lacking:
        print(f"left out: DR and SNDR ({lacking})")
        return None
    item, position = rows["item_id"].to_numpy(), rows["position"].to_numpy() - 1
    shown, clicked = np.zeros((ITEMS, POSITIONS)), np.zeros((ITEMS, POSITIONS))
    np.add.at(shown, (item, position), 1.0)
    np.add.at(clicked, (item, position), clicks)
    rate = (clicked + clicks.mean() * 50) / (shown + 50)
    ours = {one.name: one for one in estimates(w, clicks, rate[item, position], (policy * rate).sum(0)[position], each)}
    everywhere = {
        "reward": clicks, "action": item, "position": position, "pscore": rows["propensity_score"].to_numpy(),
        "action_dist": np.broadcast_to(policy, (rows.height, ITEMS, POSITIONS)),
        "estimated_rewards_by_reg_model": np.broadcast_to(rate, (rows.height, ITEMS, POSITIONS)),
    }  # fmt: skip
    equal = True
    for name, theirs in (("DR", DoublyRobust()), ("SNDR", SelfNormalizedDoublyRobust())):
        value = float(theirs.estimate_policy_value(**everywhere))
        print(f"{name:<6} {ours[name].value:.9f}, obp's estimator {value:.9f} on the same predictions")
        equal &= abs(ours[name].value - value) < WITHIN
    return equal


def thompson(prior: Path) -> Floats:
    """(items, positions): how often each item comes to each position when means are drawn from the prior."""
    known = yaml.safe_load(prior.read_text())["all"]
    random = np.random.RandomState(SEED)
    counts = np.zeros((ITEMS, POSITIONS))
    for _ in range(DRAWS):
        drawn = random.beta(np.array(known["alpha"]), np.array(known["beta"]))
        counts[drawn.argsort()[::-1][:POSITIONS], np.arange(POSITIONS)] += 1
    return np.asarray(counts / DRAWS, np.float64)


if __name__ == "__main__":
    sys.exit(run() is False)
