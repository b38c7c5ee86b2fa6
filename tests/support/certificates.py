"""A certificate authority for one cluster, with a server's and a client's certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

TLS = Literal["server", "mutual"]
"""`server`: the server shows a certificate. `mutual`: it also asks the client for one."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. The server's certificate is good for 127.0.0.1 and localhost."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    def client_context(self) -> ssl.SSLContext:
        """What a client needs to talk to the server."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.client_cert, self.client_key)
        return context


def issue(folder: Path) -> Certificates:
    """Make an authority and both certificates in `folder`."""
    folder.mkdir()
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client.leasekit.test", common_name="leasekit")
    files = Certificates(
        *(folder / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key"))
    )
    authority.cert_pem.write_to_path(files.ca)
    server.private_key_pem.write_to_path(files.server_key)
    client.private_key_pem.write_to_path(files.client_key)
    for issued, path in ((server, files.server_cert), (client, files.client_cert)):
        path.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return files
