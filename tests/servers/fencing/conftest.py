"""Databases for guards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.databases import MariaDB, Postgres, Redis


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server, shared by the worker's tests."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One MariaDB server, shared by the worker's tests."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One Redis server, shared by the worker's tests."""
    with Redis() as server:
        yield server
