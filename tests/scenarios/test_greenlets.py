"""Under the monkey patching of gevent and eventlet: it works, or is refused at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.site import Site

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}
LEADS = """
import threading, time
import leasekit
from leasekit import greenlets

assert greenlets.threads_are_greenlets()
beats = []

def beat():
    while True:
        beats.append(1)
        time.sleep(0.01)

threading.Thread(target=beat, daemon=True).start()
with leasekit.connect({url!r}) as store:
    with leasekit.Election("reports", store, ttl_s={ttl_s}).campaign(timeout_s=60) as leadership:
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * leadership.ttl_s:
            time.sleep(0.01)
            leadership.check()
    print("led", len(beats) > 10, leasekit.Election("reports", store).leader())
"""
REFUSED = """
import leasekit
try:
    leasekit.Election("reports", leasekit.connect({url!r})).leader()
except leasekit.ConfigError as error:
    print(error)
"""


def said_by(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_leadership_is_renewed_while_other_greenlets_run_or_the_store_is_refused(site: Site) -> None:
    if site.url.startswith("etcd"):
        assert "greenlets" in said_by(PATCHES["gevent"] + REFUSED.format(url=site.url))
    else:
        assert said_by(PATCHES["gevent"] + LEADS.format(url=site.url, ttl_s=site.ttl_s)) == "led True None\n"


def test_the_same_with_eventlet(tmp_path: Path) -> None:
    program = PATCHES["eventlet"] + LEADS.format(url=f"sqlite:///{tmp_path}/leases.db", ttl_s=2)
    assert said_by(program) == "led True None\n"


def test_etcd_is_refused_where_eventlet_has_patched_threads() -> None:
    assert "greenlets" in said_by(PATCHES["eventlet"] + REFUSED.format(url="etcd://127.0.0.1:1"))


def test_gevent_without_its_threads_is_refused() -> None:
    program = "from gevent import monkey; monkey.patch_all(thread=False)" + REFUSED.format(url="memory://")
    assert said_by(program).startswith("gevent: ")
