"""A real NGINX, Caddy and Envoy, which run the examples of `deploy/gate` with ports and files of a test."""

import re
import shutil
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.authority import Authority

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "deploy" / "gate"
_MAIN: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/sleep.conf;
}}
"""


class Ports(NamedTuple):
    """Where the proxy, the gate and the service listen."""

    proxy: int
    gate: int
    service: int


class Certificates:
    """An authority, a server's certificate, and clients' certificates with a tenant in their name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority(folder)
        shutil.copy(self._authority.certificate, folder / "clients.crt")
        self._authority.issue("server", "127.0.0.1")

    def client(self, tenant: str, organization: str = "Shop") -> ssl.SSLContext:
        """Return how a client of a tenant connects."""
        self._authority.issue(tenant, tenant, organization)
        context = ssl.create_default_context(cafile=self._authority.certificate)
        context.check_hostname = False
        context.load_cert_chain(self._folder / f"{tenant}.crt", self._folder / f"{tenant}.key")
        return context


def nginx_command(folder: Path, ports: Ports) -> list[str] | None:
    """Write the configuration, and return what starts NGINX; None if there is none. Certificates are in the folder."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    example = _filled((EXAMPLES / "nginx.conf").read_text(encoding="utf-8"), ports)
    (folder / "sleep.conf").write_text(example.replace("/etc/nginx/tls", str(folder)))
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy_command(folder: Path, ports: Ports) -> list[str] | None:
    """Write the configuration, and return what starts Caddy; None if there is none. Certificates are in the folder."""
    program = shutil.which("caddy")
    if program is None:
        return None
    example = _filled((EXAMPLES / "Caddyfile").read_text(encoding="utf-8"), ports)
    (folder / "Caddyfile").write_text(example.replace("/etc/caddy/tls", str(folder)))
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def envoy_command(folder: Path, ports: Ports, issuer: str, audience: str) -> list[str] | None:
    """Write the configuration, and return what starts Envoy; None if there is none. `jwks.json` is in the folder."""
    spec = find_spec("envoy")
    program = None if spec is None or spec.origin is None else Path(spec.origin).parent / "_bin" / "envoy"
    if program is None or not program.is_file():
        return None
    example = _filled((EXAMPLES / "envoy.yaml").read_text(encoding="utf-8"), ports)
    for ours, of_the_test in (
        ("/etc/envoy/jwks.json", str(folder / "jwks.json")),
        ("https://issuer.example/", issuer),
        ("audiences: [shop]", f"audiences: [{audience}]"),
    ):
        assert ours in example
        example = example.replace(ours, of_the_test)
    (folder / "envoy.yaml").write_text(example)
    program.chmod(program.stat().st_mode | 0o111)
    more = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    return [str(program), "-c", str(folder / "envoy.yaml"), *more]


def _filled(example: str, ports: Ports) -> str:
    ours = {"8443": ports.proxy, "8090": ports.gate, "8080": ports.service}
    filled, replaced = re.subn("|".join(ours), lambda found: str(ours[found[0]]), example)
    assert replaced >= len(ours)
    return filled
