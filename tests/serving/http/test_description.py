"""What the OpenAPI description says is what the server does: schemathesis makes requests of it and holds the answers
against it."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.http.conftest import Serve

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
KEY = "admin"


@pytest.fixture
def description(serve: Serve) -> Any:
    site = serve(admin_key=KEY, metrics={"enabled": True})
    return schemathesis.openapi.from_url(site.url + "/spec")


schema = schemathesis.pytest.from_fixture("description")


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True, deadline=None)
def test_the_server_does_what_its_description_says(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {KEY}"})
