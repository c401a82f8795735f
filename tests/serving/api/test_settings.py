"""Settings from file, environment and options, and the table of them in the documents."""

from pathlib import Path

import pytest

from kakehashi.config import ConfigError
from kakehashi.serving.api.settings import OTHERS, ServerSettings, load_settings, settings_of, table

DOCUMENT = Path(__file__).parents[3] / "docs" / "serving.md"


def test_the_later_of_file_environment_and_option_wins(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("port: 1\nlimits: {minute: 1, hour: 1, day: 1}\nmemory: {database: here.sqlite}\n", "utf-8")
    environment = {"KAKEHASHI_LIMITS_HOUR": "2", "KAKEHASHI_LIMITS_DAY": "2", "PATH": "elsewhere"}
    settings = load_settings(file, environment, ["limits.day=3"])
    assert (settings.port, settings.limits.minute, settings.limits.hour, settings.limits.day) == (1, 1, 2, 3)
    assert settings.memory.database == str(tmp_path / "here.sqlite"), "relative to the file that says so"


def test_variables_are_text_where_text_is_wanted_and_yaml_elsewhere() -> None:
    environment = {
        "KAKEHASHI_ADMIN_KEY": "0123: ${x}",
        "KAKEHASHI_LIMITS_MINUTE": "null",
        "KAKEHASHI_ACCESS_KEYS": "[{key: a, minute: 3}]",
        "KAKEHASHI_ACCESS_REQUIRED": "true",
        "KAKEHASHI_MEMORY_DATABASE": "postgresql+pg8000://user@host/name",
    }
    settings = load_settings(None, environment, ["limits.minute=7"])
    assert settings.admin_key and settings.admin_key.get_secret_value() == "0123: ${x}"
    assert (settings.limits.minute, settings.access.keys[0].minute, settings.access.required) == (7, 3, True)
    assert settings.memory.database == "postgresql+pg8000://user@host/name"
    assert "0123" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "options", "said"),
    [
        ({"KAKEHASHI_LIMITS_MINUT": "1"}, [], "did you mean KAKEHASHI_LIMITS_MINUTE?"),
        ({"KAKEHASHI_PORT": "tcp://10.0.0.1:80"}, [], "port = 'tcp://10.0.0.1:80': must be a whole number"),
        ({}, ["limits.minut=1"], "did you mean 'minute'?"),
        ({}, ["memory.suggestions=trusted"], "did you mean 'trust'?"),
        ({}, ["limits.minute=0"], "greater than 0"),
    ],
)
def test_mistakes_are_told(environment: dict[str, str], options: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, environment, options)
    assert said in str(caught.value)


def test_variables_of_others_are_let_be() -> None:
    others = {name: "x" for name in OTHERS} | {"KAKEHASHI_SERVICE_HOST": "10.0.0.1"}
    assert load_settings(None, others, []) == ServerSettings()


def test_every_setting_has_a_variable_of_its_own_and_a_description() -> None:
    settings = list(settings_of())
    assert len({setting.variable for setting in settings}) == len(settings) > 20
    assert [setting.name for setting in settings if not setting.description or "|" in setting.description] == []


def test_the_document_shows_this_table() -> None:
    assert table() in DOCUMENT.read_text("utf-8")
