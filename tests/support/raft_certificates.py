"""An authority for one Raft cluster, and certificates for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Pem:
    """The files of one certificate."""

    ca: Path
    cert: Path
    key: Path

    @property
    def texts(self) -> tuple[str, str, str]:
        return str(self.ca), str(self.cert), str(self.key)


class Authority:
    """Issues certificates into `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)
        self._issued = 0

    def issue(self, *names: str, common_name: str | None = None) -> Pem:
        """A certificate for these names."""
        self._issued += 1
        issued = self._authority.issue_cert(*names, common_name=common_name)
        pem = Pem(self.ca, self._folder / f"{self._issued}.pem", self._folder / f"{self._issued}.key")
        issued.private_key_pem.write_to_path(pem.key)
        pem.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        return pem
