"""The time in the head of an HTTP answer."""

from __future__ import annotations

import pytest

from leasekit.backends.etcd.http_date import date_of


def test_the_date_is_found_whatever_its_case() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndAtE: Sun, 22 Nov 2026 23:00:07 GMT\r\n\r\n"
    assert date_of(head) == 1795388407


def test_an_error_page_tells_the_time_as_well() -> None:
    assert date_of(b"HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n") == 0


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n",
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00 an HTTP/2 frame\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_bears_no_date_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"date|HTTP|Invalid"):
        date_of(head)
