"""What a journey names that is kept elsewhere, and that is not there: whoever came to such a step would be stuck, or go
`else` without a word. Asked before a journey lets anybody in; until then it may be written before what it names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from features.catalogue import FEATURE_NAMES
from models.declaration import near
from service.customers.scores import SCORES
from service.errors import FieldError
from service.experiments.definition import experiment_from
from service.experiments.experiment_store import find_experiment
from service.journeys import conditions
from service.journeys.definition import Branch, Decide, Journey, Split
from service.offers.cel import Expression
from service.offers.offers_store import read_offers
from service.storage.database import Connection


def unknown_names(connection: Connection, journey: Journey) -> list[FieldError]:
    """Each experiment, variant, offer, feature and score that a journey names and that there is not."""
    splits = {step.experiment for step in journey.steps.values() if isinstance(step, Split)}
    stored = {name: find_experiment(connection, name) for name in splits}
    variants = {name: experiment_from(row).plan.variants for name, row in stored.items() if row is not None}
    asked = {offer for step in journey.steps.values() if isinstance(step, Decide) for offer in step.offers or ()}
    offers = {offer.offer_id: offer.document["channels"] for offer in read_offers(connection, sorted(asked))}
    return list(names_nothing(journey, variants, offers))


def names_nothing(
    journey: Journey, variants: Mapping[str, Collection[str]], offers: Mapping[str, Collection[str]]
) -> Iterator[FieldError]:
    """The faults in the steps' order. `variants`: of each experiment that there is; `offers`: the channels of each that
    is in the catalogue.
    """
    for index, step in enumerate(journey.steps.values()):
        for name, fault in _of_step(step, variants, offers):
            yield FieldError(f"steps[{index}].{name}", f"step '{step.id}': {fault}")


def _of_step(
    step: object, variants: Mapping[str, Collection[str]], offers: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str]]:
    match step:
        case Split(experiment=name) if name not in variants:
            yield "experiment", f"there is no experiment {name!r}; declare it first, or correct the name"
        case Split(experiment=name, arms=arms):
            for arm in arms:
                if arm not in variants[name]:
                    has = ", ".join(variants[name])
                    yield f"arms.{arm}", f"the experiment {name!r} has no variant {arm!r}; it has {has}"
        case Decide(offers=named, channels=channels) if named is not None:
            for place, offer in enumerate(named):
                if offer not in offers:
                    yield f"offers[{place}]", f"the catalogue has no offer {offer!r}; put it first, or take it out"
                elif not set(channels).intersection(offers[offer]):
                    goes = f"goes by {', '.join(offers[offer])} only, not by {', '.join(channels)}"
                    yield f"offers[{place}]", f"the offer {offer!r} {goes}; add a channel, or take it out"
        case Branch(cases=cases):
            for place, case in enumerate(cases):
                for fault in unknown_inputs(conditions.compiled(case.when, conditions.BRANCH)):
                    yield f"cases[{place}].when", fault


def unknown_inputs(expression: Expression) -> Iterator[str]:
    """The features and scores that an expression asks for and that there are not."""
    scores = {one.name for one in expression.inputs or () if one.of == "scores"}
    for kind, asked, known in (("feature", expression.features or (), FEATURE_NAMES), ("score", scores, SCORES)):
        for name in sorted(set(asked).difference(known)):
            yield f"there is no {kind} {name!r}{near(name, known)}"
