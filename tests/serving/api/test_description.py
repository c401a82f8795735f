"""What the OpenAPI description says is what the server does: schemathesis makes requests of it and holds the answers
against it."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.api.conftest import Serve

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HEADERS = {"Authorization": "Bearer admin"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_the_server_does_what_its_description_says(serve: Serve, mode: schemathesis.GenerationMode) -> None:
    site = serve(admin_key="admin", metrics={"enabled": True})
    described = schemathesis.openapi.from_url(site.url + "/spec")
    operations = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 10
    if mode is schemathesis.GenerationMode.NEGATIVE:  # where nothing is asked for, nothing can be wrong
        operations = [each for each in operations if [*each.iter_parameters(), *each.body]]
    for operation in operations:

        @settings(max_examples=40, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def hold(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, headers=HEADERS)

        hold()
