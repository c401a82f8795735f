"""Clients that nobody here wrote."""

import pytest
from deep_translator import LibreTranslator
from deep_translator.exceptions import AuthorizationException
from libretranslatepy import LibreTranslateAPI

from tests.serving.http.conftest import Serve, Site


def test_libretranslatepy(site: Site) -> None:
    client = LibreTranslateAPI(site.url)
    assert client.translate("ant bee.", "en", "de") == "bee cat."
    assert client.detect("Das ist die Sprache Goethes.")[0]["language"] == "de"
    assert [language["code"] for language in client.languages()] == ["de", "en", "fr"]


def test_deep_translator(site: Site) -> None:
    client = LibreTranslator(source="en", target="de", custom_url=site.url + "/", api_key="it insists on one")
    assert client.translate("ant bee.") == "bee cat."
    assert client.translate_batch(["ant", "bee"]) == ["bee", "cat"]


def test_deep_translator_knows_a_wrong_key(serve: Serve) -> None:
    site = serve(access={"keys": [{"key": "good"}]})
    client = LibreTranslator(source="en", target="de", custom_url=site.url + "/", api_key="bad")
    with pytest.raises(AuthorizationException):
        client.translate("ant")
