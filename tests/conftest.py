"""What tests of several modules need."""

import os

import pytest

from miest import datasets


@pytest.fixture
def fetched():
    """Loads data that has to be fetched; where it is not, the test is skipped, or fails if MIEST_REQUIRE_DATA=1."""

    def load(name, split="train"):
        try:
            return datasets.load(name, split)
        except FileNotFoundError as error:
            if os.environ.get("MIEST_REQUIRE_DATA") == "1":
                pytest.fail(f"MIEST_REQUIRE_DATA=1, but {error}")
            pytest.skip(str(error))

    return load
