"""The API keeps to its own OpenAPI document, whatever it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # now: parsed beside the server's threads, it met CPython's gh-106905
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.end_to_end.api_home import ApiHome, api_home
from tests.fakes.databases import new_database

pytestmark = pytest.mark.slow
EXAMPLES = 8
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[ApiHome]:
    """On Postgres, which is stricter than SQLite: no U+0000 in texts, no value that its type does not hold."""
    with new_database(postgres_server) as url, api_home(tmp_path_factory.mktemp("home"), url) as made:
        yield made


@pytest.fixture(scope="module")
def document(home: ApiHome) -> Any:
    """The document, whose cases name what is there in every second path."""
    schema = schemathesis.openapi.from_url(f"{home.api.base_url}/openapi.json")
    turn = [0]

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
        turn[0] += 1
        return path_parameters | home.ids if turn[0] % 2 and path_parameters else path_parameters

    return schema


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_documented(mode: GenerationMode, document: Any, home: ApiHome) -> None:
    wrong: list[str] = []
    for found in document.get_all_operations():
        operation = found.ok()
        try:
            _examine(operation, mode, home)
        except (FailureGroup, Failure) as failure:
            wrong.append(f"{operation.method} {operation.path}: {failure}")
        except Unsatisfiable:  # nothing that this operation takes can be wrong
            assert mode is GenerationMode.NEGATIVE
    assert not wrong, "\n\n".join(wrong)


def _examine(operation: Any, mode: GenerationMode, home: ApiHome) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def examine(case: Any) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {home.secret}"})
        case.validate_response(answer, checks=CHECKS)

    examine()
