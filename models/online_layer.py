"""What decisions' outcomes teach at once, on top of a trained score: a hierarchical Bayesian logistic regression.

    log-odds(convert) = score + shared . w + own . v[offer]
    w ~ N(0, 1 / shared_prior),  v[offer] ~ N(0, 1 / own_prior)

`score` is a trained model's log-odds, so the model is the prior. `w` is learnt from all offers together, `v` tells an
offer apart from the others and is shrunk towards them: an offer shown ten times stays where its kind is. How much is
learnt too (`tuned`): what turns out to matter gets wide priors, what does not is shut.

The posterior is Gaussian (Laplace, Newton's method; Spiegelhalter and Lauritzen 1990, online as in Chapelle and Li
2011, algorithm 3, but with all covariances). Two offers never meet in one outcome, so the precision is an arrowhead: a
block of `w`, a block an offer, and those between; Newton steps are exact through the Schur complement, and cost grows
with the number of offers, not with its cube.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
STEPS, SETTLED, FURTHEST = 8, 1e-4, 3.0
"""Newton's method: most steps, the size of one that ends it, and the farthest that a weight moves in one."""
LOOSEST, TIGHTEST = 0.05, 1e4
"""Bounds of the precisions of priors that are learnt."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """n outcomes: `shared` (n, d) and `own` (n, k) inputs, `offers` (their names), the model's log-odds `score` (n,),
    `label` (n,) 0 or 1, and how much each counts, `weight` (n,) in (0, 1].
    """

    shared: Floats
    own: Floats
    offers: Sequence[str]
    score: Floats
    label: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class Weights:
    """The posterior mean alone, all that scoring needs: `shared` (d,), and `own` (m, k) of the `offers`.

    The last inputs of both are the `situations`, by name (`models.situations`).
    """

    shared: Floats
    own: Floats
    offers: tuple[str, ...]
    situations: tuple[str, ...] = ()

    def own_of(self, offers: Sequence[str]) -> Floats:
        """(len(offers), k); zeros for an offer that nothing is known of."""
        place = {name: number for number, name in enumerate(self.offers)}
        rows = np.array([place.get(name, -1) for name in offers], np.int64)
        known = np.vstack([self.own, np.zeros((1, self.own.shape[1]))])
        return np.asarray(known[rows], np.float64)

    def to_bytes(self) -> bytes:
        """For a table; `from_bytes` gives them back to the bit."""
        return _packed(**self.arrays())

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self:
        with np.load(io.BytesIO(packed), allow_pickle=False) as held:
            return cls.of(held)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything by name; `of` makes it of these again."""
        names = {"offers": np.array(self.offers, np.str_), "situations": np.array(self.situations, np.str_)}
        return {"shared": self.shared, "own": self.own, **names}

    @classmethod
    def of(cls, held: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Those kept before there were situations have none."""
        situations = held["situations"].tolist() if "situations" in held else ()
        return cls(held["shared"], held["own"], tuple(held["offers"].tolist()), tuple(situations))


@dataclass(frozen=True, slots=True)
class Priors:
    """Precisions of the first priors, `shared` (d,) and `own` (k,), all above 0, and which of them are learnt together.

    Weights of one number in `shared_groups` (d,) and `own_groups` (k,) have one prior; those of -1 keep theirs.
    `strength`: how many weights' worth the first variance counts when a group's is learnt.
    """

    shared: Floats
    own: Floats
    shared_groups: Ints
    own_groups: Ints
    strength: float = 40.0

    def precisions(self, first: Floats, groups: Ints, squares: Floats, each: int) -> Floats:
        """What a side's precisions are now, from its weights' squares, each the sum of `each` weights'."""
        found = first.copy()
        for group in np.unique(groups[groups >= 0]).tolist():
            here = groups == group
            count = each * int(here.sum())
            variance = (squares[here].sum() + self.strength * float((1 / first[here]).mean())) / (count + self.strength)
            found[here] = min(max(1 / variance, LOOSEST), TIGHTEST)
        return found


@dataclass(frozen=True, slots=True)
class OnlineLayer:
    """The posterior. `a` (d, d), `b` (m, k, k) and `c` (m, d, k) are the blocks of its precision; `seen` the sum of
    the weights of everything learnt.
    """

    weights: Weights
    a: Floats
    b: Floats
    c: Floats
    shared_prior: Floats
    own_prior: Floats
    seen: float = 0.0

    @classmethod
    def new(cls, shared_prior: Floats, own_prior: Floats) -> Self:
        """Nothing learnt yet. Precisions of the priors: (d,) and (k,), all above 0."""
        d, k = len(shared_prior), len(own_prior)
        weights = Weights(np.zeros(d), np.zeros((0, k)), ())
        return cls(weights, np.diag(shared_prior), np.zeros((0, k, k)), np.zeros((0, d, k)), shared_prior, own_prior)

    def learn(self, lessons: Lessons) -> Self:
        """The posterior after these outcomes; the order within them does not matter."""
        if not len(lessons.label):
            return self
        grown = self._with_offers(lessons.offers)
        place = {name: number for number, name in enumerate(grown.weights.offers)}
        which = np.array([place[name] for name in lessons.offers], np.int64)
        w, v = grown._mode(lessons, which)
        slope = _slopes(lessons, which, w, v)
        touched = np.unique(which)
        a = grown.a + (lessons.shared * slope[:, None]).T @ lessons.shared
        b, c = grown.b.copy(), grown.c.copy()
        for offer in touched.tolist():
            here = which == offer
            x, z, s = lessons.shared[here], lessons.own[here], slope[here, None]
            b[offer] += (z * s).T @ z
            c[offer] += (x * s).T @ z
        weights = replace(grown.weights, shared=w, own=v)
        return replace(grown, weights=weights, a=a, b=b, c=c, seen=self.seen + float(lessons.weight.sum()))

    def sure_of(self, lessons: Lessons) -> Self:
        """As sure as after these outcomes, but with nothing learnt from them: for what is below has done so."""
        return replace(self.learn(replace(lessons, label=_sigmoid(lessons.score))), seen=self.seen)

    def alike(self, other: OnlineLayer) -> bool:
        """Whether both have the same inputs."""
        mine, theirs = ((len(one.shared_prior), len(one.own_prior), one.weights.situations) for one in (self, other))
        return mine == theirs

    def in_situations(self, names: tuple[str, ...], shared_prior: Floats, own_prior: Floats) -> Self:
        """With an input more for each of these situations, shared and own, of which nothing is learnt yet.

        Precisions of their priors, (len(names),) each, all above 0. ValueError where it has some already.
        """
        if self.weights.situations:
            raise ValueError("it learns from situations already")
        if not names:
            return self
        wide, (m, d, k) = len(names), self.c.shape
        a, b, c = (
            np.zeros(shape) for shape in ((d + wide, d + wide), (m, k + wide, k + wide), (m, d + wide, k + wide))
        )
        a[:d, :d], b[:, :k, :k], c[:, :d, :k] = self.a, self.b, self.c
        a[d:, d:], b[:, k:, k:] = np.diag(shared_prior), np.diag(own_prior)
        weights = Weights(
            np.concatenate([self.weights.shared, np.zeros(wide)]),
            np.concatenate([self.weights.own, np.zeros((m, wide))], axis=1),
            self.weights.offers,
            names,
        )
        shared, own = np.concatenate([self.shared_prior, shared_prior]), np.concatenate([self.own_prior, own_prior])
        return replace(self, weights=weights, a=a, b=b, c=c, shared_prior=shared, own_prior=own)

    def tuned(self, first: Priors) -> Self:
        """With prior variances as the weights turned out: empirical Bayes, one step of MacKay (1992) by groups.

        A group's variance is the mean of squared weights and their posterior variances, among which `first.strength`
        weights of the first prior's count. Exact for the Gaussian posterior that is held: the evidence stays, only the
        priors in it are exchanged, so no outcome is looked at again.
        """
        if not len(self.weights.offers):
            return self
        w, v = self.weights.shared, self.weights.own
        var_w, var_v = self._variances()
        shared = first.precisions(first.shared, first.shared_groups, w**2 + var_w, 1)
        own = first.precisions(first.own, first.own_groups, (v**2 + var_v).sum(axis=0), len(v))
        a, b = self.a + np.diag(shared - self.shared_prior), self.b + np.diag(own - self.own_prior)
        mean_w, mean_v = _arrow_solve(a, b, self.c, *self._told())
        weights = replace(self.weights, shared=mean_w, own=mean_v)
        return replace(self, weights=weights, a=a, b=b, shared_prior=shared, own_prior=own)

    def _variances(self) -> tuple[Floats, Floats]:
        """Of each weight, (d,) and (m, k): the diagonal of the posterior's covariance."""
        inverse = np.linalg.inv(self.b)
        to_shared = inverse @ np.swapaxes(self.c, 1, 2)
        flat = np.swapaxes(self.c, 0, 1).reshape(len(self.a), -1)
        rest = np.linalg.inv(self.a - flat @ to_shared.reshape(-1, len(self.a)))
        own = np.einsum("mkk->mk", inverse) + ((to_shared @ rest) * to_shared).sum(axis=2)
        return np.diag(rest).copy(), np.asarray(own, np.float64)

    def forget(self, share: float) -> Self:
        """Keeps this share of the evidence (0 to 1), as if each outcome so far had counted that much."""
        if share == 1.0:
            return self
        own = np.diag(self.own_prior)
        shared = np.diag(self.shared_prior)
        a, b, c = shared + share * (self.a - shared), own + share * (self.b - own), share * self.c
        mean_w, mean_v = _arrow_solve(a, b, c, *(share * told for told in self._told()))
        weights = replace(self.weights, shared=mean_w, own=mean_v)
        return replace(self, weights=weights, a=a, b=b, c=c, seen=share * self.seen)

    def _told(self) -> tuple[Floats, Floats]:
        """Precision times mean, (d,) and (m, k): what the evidence says, as all priors are around 0."""
        w, v = self.weights.shared, self.weights.own
        told_w = self.a @ w + np.einsum("mdk,mk->d", self.c, v)
        return told_w, np.einsum("mkj,mj->mk", self.b, v) + np.einsum("mdk,d->mk", self.c, w)

    def _with_offers(self, names: Sequence[str]) -> Self:
        """The same with a prior for each name that is new."""
        known = set(self.weights.offers)
        fresh = [name for name in dict.fromkeys(names) if name not in known]
        if not fresh:
            return self
        d, k, n = len(self.shared_prior), len(self.own_prior), len(fresh)
        own, offers = np.vstack([self.weights.own, np.zeros((n, k))]), (*self.weights.offers, *fresh)
        weights = replace(self.weights, own=own, offers=offers)
        b = np.concatenate([self.b, np.repeat(np.diag(self.own_prior)[None], n, axis=0)])
        return replace(self, weights=weights, b=b, c=np.concatenate([self.c, np.zeros((n, d, k))]))

    def _mode(self, lessons: Lessons, which: Ints) -> tuple[Floats, Floats]:
        """The most likely (w, v) given the posterior so far and these outcomes."""
        w0, v0 = self.weights.shared, self.weights.own
        w, v = w0.copy(), v0.copy()
        offers = len(v0)
        for _ in range(STEPS):
            miss = lessons.weight * (lessons.label - _sigmoid(_log_odds(lessons, which, w, v)))
            dw, dv = w - w0, v - v0
            gw = lessons.shared.T @ miss - self.a @ dw - np.einsum("mdk,mk->d", self.c, dv)
            gv = -np.einsum("mkj,mj->mk", self.b, dv) - np.einsum("mdk,d->mk", self.c, dw)
            np.add.at(gv, which, lessons.own * miss[:, None])
            slope = _slopes(lessons, which, w, v)
            a = self.a + (lessons.shared * slope[:, None]).T @ lessons.shared
            b, c = self.b.copy(), self.c.copy()
            order = np.argsort(which, kind="stable")
            bounds = np.searchsorted(which[order], np.arange(offers + 1))
            for offer in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
                rows = order[bounds[offer] : bounds[offer + 1]]
                z, s = lessons.own[rows], slope[rows, None]
                b[offer] += (z * s).T @ z
                c[offer] += (lessons.shared[rows] * s).T @ z
            step_w, step_v = _arrow_solve(a, b, c, gw, gv)
            size = max(float(np.abs(step_w).max(initial=0)), float(np.abs(step_v).max(initial=0)))
            cut = min(1.0, FURTHEST / size) if size > 0 else 1.0
            w, v = w + cut * step_w, v + cut * step_v
            if size < SETTLED:
                break
        return w, v

    def to_bytes(self) -> bytes:
        """For a table; `from_bytes` gives it back to the bit."""
        return _packed(
            **self.weights.arrays(), a=self.a, b=self.b, c=self.c,
            shared_prior=self.shared_prior, own_prior=self.own_prior, seen=np.array(self.seen),
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self:
        with np.load(io.BytesIO(packed), allow_pickle=False) as held:
            weights = Weights.of(held)
            a, b, c, shared, own = (held[name] for name in ("a", "b", "c", "shared_prior", "own_prior"))
            return cls(weights, a, b, c, shared, own, float(held["seen"]))


def _arrow_solve(a: Floats, b: Floats, c: Floats, gw: Floats, gv: Floats) -> tuple[Floats, Floats]:
    """x of [[a, c], [c', b]] x = g, with b a block an offer."""
    if not len(b):
        return np.asarray(np.linalg.solve(a, gw), np.float64), gv
    right = np.linalg.solve(b, np.concatenate([np.swapaxes(c, 1, 2), gv[:, :, None]], axis=2))
    to_shared, alone = right[:, :, :-1], right[:, :, -1]
    flat = np.swapaxes(c, 0, 1).reshape(len(a), -1)
    rest = a - flat @ to_shared.reshape(-1, len(a))
    x = np.asarray(np.linalg.solve(rest, gw - flat @ alone.ravel()), np.float64)
    return x, alone - to_shared @ x


def _log_odds(lessons: Lessons, which: Ints, w: Floats, v: Floats) -> Floats:
    own = np.einsum("nk,nk->n", lessons.own, v[which])
    return np.asarray(lessons.score + lessons.shared @ w + own, np.float64)


def _slopes(lessons: Lessons, which: Ints, w: Floats, v: Floats) -> Floats:
    chance = _sigmoid(_log_odds(lessons, which, w, v))
    return np.asarray(lessons.weight * chance * (1 - chance), np.float64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float64)


def _packed(**arrays: npt.NDArray[np.generic]) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)  # type: ignore[arg-type]
    return held.getvalue()
