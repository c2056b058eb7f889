"""The composition root: which part gets which collaborators. Everything else takes what it needs as arguments."""

from service.wiring.background import start_loops, stop_loops
from service.wiring.health import readiness
from service.wiring.journeys import journey_runner
from service.wiring.parts import Parts, build
from service.wiring.warm_up import get_ready, try_the_way_in

__all__ = ["Parts", "build", "get_ready", "journey_runner", "readiness", "start_loops", "stop_loops", "try_the_way_in"]
