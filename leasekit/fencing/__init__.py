"""Guards that refuse a stale leader: *accept iff token >= the highest seen, remember it, atomically with the write*.

`SqlFence`, `RedisFence`, `FileFence` and `StoreFence` guard what they are named after; `AsgiFence` and `WsgiFence`
carry tokens over HTTP to any of them. `leasekit.fencing.contract` says what all have in common, docs/fencing.md how to choose.

Names load on first use: who fences a file needs no client of a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leasekit.errors import FencingRejected

if TYPE_CHECKING:
    from leasekit.fencing.contract import AsyncGuard as AsyncGuard
    from leasekit.fencing.contract import Guard as Guard
    from leasekit.fencing.contract import token_from_environment as token_from_environment
    from leasekit.fencing.file import FileFence as FileFence
    from leasekit.fencing.http import AsgiFence as AsgiFence
    from leasekit.fencing.http import WsgiFence as WsgiFence
    from leasekit.fencing.http_client import RequestsToken as RequestsToken
    from leasekit.fencing.http_client import httpx_async_hooks as httpx_async_hooks
    from leasekit.fencing.http_client import httpx_hooks as httpx_hooks
    from leasekit.fencing.redis import AsyncRedisFence as AsyncRedisFence
    from leasekit.fencing.redis import RedisFence as RedisFence
    from leasekit.fencing.sql import SqlFence as SqlFence
    from leasekit.fencing.sql import SqlGuard as SqlGuard
    from leasekit.fencing.store import AsyncStoreFence as AsyncStoreFence
    from leasekit.fencing.store import StoreFence as StoreFence

_HOMES = {
    "contract": ("AsyncGuard", "Guard", "token_from_environment"),
    "file": ("FileFence",),
    "http": ("AsgiFence", "WsgiFence"),
    "http_client": ("RequestsToken", "httpx_async_hooks", "httpx_hooks"),
    "redis": ("AsyncRedisFence", "RedisFence"),
    "sql": ("SqlFence", "SqlGuard"),
    "store": ("AsyncStoreFence", "StoreFence"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["FencingRejected", *sorted(_HOME_OF)]  # noqa: PLE0604


if not TYPE_CHECKING:  # to a type checker it would say that every name exists

    def __getattr__(name: str) -> Any:
        import importlib

        if name in _HOME_OF:
            return getattr(importlib.import_module(f"leasekit.fencing.{_HOME_OF[name]}"), name)
        raise AttributeError(f"module 'leasekit.fencing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
