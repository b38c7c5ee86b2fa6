"""Environments under `.cache/venvs/`: python-etcd3 and the generator of our stubs cannot live beside today's protobuf."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / ".cache" / "venvs"

# tenacity: with 7 or later python-etcd3 raises TypeError when the lock is taken.
REQUIREMENTS = {
    "etcd3": ("etcd3==0.12.0", "protobuf==3.20.3", "tenacity<7"),
    "aetcd": ("aetcd==1.0.0",),
    "tooz": ("tooz[etcd3gw]==9.1.0",),
    "pysyncobj": ("pysyncobj==0.3.14", "setuptools<81"),
    "plots": ("matplotlib==3.10.*",),
    "stubs": ("grpcio-tools==1.49.1", "setuptools<81"),
}


def python(name: str) -> Path:
    """The interpreter of this environment, which is made if it is not there."""
    folder = FOLDER / name
    wanted = "\n".join((sys.version, *REQUIREMENTS[name]))
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name} ...", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*install, *REQUIREMENTS[name]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the environment of {name} cannot be made:\n{done.stderr}")
        stamp.write_text(wanted)
    return folder / "bin" / "python"
