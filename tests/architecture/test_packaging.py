"""What a newcomer installs: exact pins that satisfy pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    """Name -> version of constraints.txt; anything but `name==version` fails."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if not line.startswith("#")]
    assert matches and all(matches), "a line of constraints.txt is not name==version, without suffix or address"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def test_pins_satisfy_the_requirements(root: Path, pins: dict[str, str]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for texts in lists for text in texts if not text.startswith("kakehashi[")]
    assert len(requirements) > 10
    for requirement in requirements:
        assert requirement.url is None
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)


def test_all_holds_every_extra_but_dev(root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    whole = Requirement(extras["all"][0])
    assert len(extras["all"]) == 1 and whole.name == "kakehashi"
    assert whole.extras == extras.keys() - {"all", "dev"}
