"""Clients that nobody here wrote."""

import json
import shutil
import subprocess

import pytest
from deep_translator import LibreTranslator
from deep_translator.exceptions import AuthorizationException
from libretranslatepy import LibreTranslateAPI

from tests.serving.api.conftest import Serve, Site


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


SCRIPT = """
const { libreTranslate: client } = require("libretranslate-ts");
client.setApiEndpoint(process.argv[1]);
Promise.all([
  client.translate("ant bee.", "en", "de", 2), client.detect("Das ist die Sprache Goethes."), client.listLanguages(),
  client.translate("ant", "en", "xx"),
]).then((found) => console.log(JSON.stringify(found)));
"""


def test_libretranslate_ts(site: Site) -> None:
    """Needs node, and the package where NODE_PATH says: `make clients` fetches it with npm."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('libretranslate-ts')"], capture_output=True).returncode:
        pytest.skip("node or its package libretranslate-ts is not installed: make clients")
    ended = subprocess.run([node, "-e", SCRIPT, site.url], capture_output=True, text=True, check=True)
    translated, detected, languages, refused = json.loads(ended.stdout)
    assert (translated["status"], translated["translatedText"]) == (200, "bee cat.")
    assert 0 < len(translated["alternatives"]) <= 2
    assert (detected["language"], [language["code"] for language in languages]) == ("de", ["de", "en", "fr"])
    assert refused["error"] == "xx is not supported"
