"""What the tests of the ground need of a server."""

from tests.schemas.conftest import bare_database

__all__ = ["bare_database"]
