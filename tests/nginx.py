"""A real nginx on loopback in front of a fleet, with TLS."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.programs import REQUIRED
from tests.serving import until

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(
    PROGRAM is None and not REQUIRED, reason="no nginx: apt-get install nginx"
)
# What the README says that a proxy in front of a fleet must pass on, without the address to ask.
README = (Path(__file__).parent.parent / "README.md").read_text()
[SNIPPET] = re.findall(r"```nginx\nproxy_pass [^\n]+\n(.+?)```", README, re.DOTALL)
CONFIGURATION = """
daemon off;
error_log stderr;
pid {folder}/pid;
events {{}}
http {{
  access_log {folder}/access;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  ssl_certificate {folder}/chain.pem;
  ssl_certificate_key {folder}/key.pem;
  {servers}
}}
"""


def server(port: int, locations: str) -> str:
    return f"server {{ listen 127.0.0.1:{port} ssl; {locations} }}"


@contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[None]:
    """Run an nginx with these servers."""
    assert PROGRAM, "nginx is missing"
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "chat.test")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "chain.pem", append=True)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    text = CONFIGURATION.format(folder=folder, servers="\n".join(servers))
    (folder / "nginx.conf").write_text(text)
    with (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [PROGRAM, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"], stderr=err
        )
    try:
        until(
            lambda: (folder / "pid").exists() or process.poll() is not None, 20, "no nginx in time"
        )
        assert process.poll() is None, (folder / "stderr").read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)
