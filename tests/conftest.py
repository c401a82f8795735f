"""What every test stands on: one thread, the same examples on every run, and the real data where it exists."""

import os
from pathlib import Path

# Before torch is imported, and in the environment, so that the processes that a test starts inherit it: pytest-xdist
# gives each core a worker, and sums depend on the number of threads in their last bits.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# A busy machine is no fault of the code, so no time limits; a test that needs more examples says so itself.
settings.register_profile(
    "kakehashi", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kakehashi")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of the public data sets, named by KAKEHASHI_DATA; without it the test is skipped."""
    name = os.environ.get("KAKEHASHI_DATA")
    if not name:
        pytest.skip("KAKEHASHI_DATA is not set")
    path = Path(name)
    assert path.is_dir(), f"KAKEHASHI_DATA names {name}, which is not a directory"
    return path
