"""A PostgreSQL server of the tests' own, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where PATH does not lead


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server with nothing in it, without a database's name; it refuses to run as root, so nobody does."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, DEBIAN)])
    initdb, control = (shutil.which(name, path=path) for name in ("initdb", "pg_ctl"))
    if initdb is None or control is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    if find_spec("pg8000") is None:
        pytest.skip("the driver pg8000 is not installed")
    who: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="kakehashi-postgresql-") as folder, socket.socket() as free:
        if who:
            shutil.chown(folder, who["user"], who["group"])
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def run(*command: str) -> None:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **who)

        run(initdb, "--pgdata=data", "--username=tests", "--auth=trust", "--no-instructions", "--locale=C.UTF-8")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories="
        run(control, "--pgdata=data", "--log=log", f"--options={options}", "--wait", "start")
        try:
            yield f"postgresql+pg8000://tests@127.0.0.1:{port}"
        finally:
            run(control, "--pgdata=data", "--mode=immediate", "--wait", "stop")
