"""The image: small, unprivileged, on a read-only file system, and a whole installation."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.services.base import Kind
from tests.services.choose import Services
from tests.services.namespace import Namespace
from tests.services.probe import LOOPBACK, free_port
from tests.support.command import call
from tests.support.docker_image import DOCKER, built_image, docker

# The image is built in the first test; most of it is the download of packages.
pytestmark = pytest.mark.timeout(900)

MOST_BYTES: Final = 250_000_000
STOP_SECONDS: Final = 30
HARDENED: Final = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


@pytest.fixture(scope="module")
def image(services: Services) -> str:
    """The image of this checkout."""
    if services.kind is not Kind.CONTAINERS or not DOCKER:
        pytest.skip("needs a Docker engine and its command")
    return built_image()


def inside(image: str, script: str) -> str:
    """Return what a shell prints in a container of the image."""
    return docker("run", "--rm", "--entrypoint=sh", *HARDENED, image, "-c", script)


def test_the_image_is_small_and_has_no_privileges(image: str) -> None:
    """It has neither an installer nor a compiler, and nothing in it belongs to its user."""
    document: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    assert document["Size"] < MOST_BYTES
    assert document["Config"]["User"] == "10001:10001"
    assert document["Config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert inside(image, "ls /opt/sleep/bin | grep -E '^(pip|gcc|cc)'; command -v gcc cc; true") == ""
    assert inside(image, "find / -xdev -user 10001 -not -path '/proc/*' 2>/dev/null; true") == ""


def test_every_setting_of_pip_stays_outside_of_the_image(image: str) -> None:
    """An address of a mirror may hold a password."""
    history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", image)
    assert "PIP_" not in history
    assert "PIP_" not in inside(image, "env")


@contextmanager
def container(image: str, *command: str, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Run a command in a hardened container, and yield its id."""
    options = [option for name, value in environment.items() for option in ("--env", f"{name}={value}")]
    volume = f"--volume={folder}:/keys:ro"
    identity = docker("run", "--detach", *HARDENED, volume, *options, image, *command).strip()
    try:
        yield identity
    finally:
        docker("rm", "--force", identity)


def wait_for_health(identity: str, url: str) -> None:
    """Wait until a container's page is ready, and say what it logged if it never is."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=0)) as client:
        for _ in range(300):
            try:
                if client.get(f"{url}/readyz", timeout=5).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            docker("exec", identity, "sleep", "0.2")
    raise AssertionError(docker("logs", identity))


def test_worker_and_api_of_the_image_answer_a_command_and_stop(
    image: str, services: Services, module_namespace: Namespace, tmp_path: Path
) -> None:
    """Each in a hardened container; `health` finds them, and SIGTERM ends them with status 0."""
    token = call(
        *("token", "--tenant", "acme", "--scope", "sleep:write", "--new-key", "keys"),
        folder=tmp_path,
        environment={"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"},
    ).stdout.strip()
    public = tmp_path / "public"
    public.mkdir()
    shutil.copy(tmp_path / "keys" / "jwks.json", public / "jwks.json")
    (public / "jwks.json").chmod(0o644)
    api_port, worker_port = free_port(), free_port()
    environment = {
        **services.environ(),
        **module_namespace.environ(),
        "SLEEP_PARTITIONS": "2",
        "SLEEP_API_HOST": LOOPBACK,
        "SLEEP_API_PORT": str(api_port),
        "SLEEP_WORKER_METRICS_PORT": str(worker_port),
        "SLEEP_JWT_ISSUER": "urn:test",
        "SLEEP_JWT_AUDIENCE": "sleep",
        "SLEEP_JWT_JWKS": "/keys/jwks.json",
    }
    with ExitStack() as stack:

        def start(*command: str) -> str:
            return stack.enter_context(container(image, *command, environment=environment, folder=public))

        topics = start("topics", "create")
        assert docker("wait", topics).strip() == "0", docker("logs", topics)
        worker, api = start("worker"), start("api")
        wait_for_health(worker, f"http://{LOOPBACK}:{worker_port}")
        wait_for_health(api, f"http://{LOOPBACK}:{api_port}")
        assert docker("exec", worker, "sleepctl", "health").strip() == "api: ok, worker: ok"
        answer = httpx.post(
            f"http://{LOOPBACK}:{api_port}/api/util/sleep",
            json={"target_state": "deep", "ttl_seconds": 60},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        assert (answer.status_code, answer.json()["state"]) == (httpx.codes.OK, "deep")
        for identity in (api, worker):
            docker("stop", f"--time={STOP_SECONDS}", identity, seconds=STOP_SECONDS + 10)
            assert docker("wait", identity).strip() == "0", docker("logs", identity)
        assert "nothing listens here" in nothing_there(image, environment)


def nothing_there(image: str, environment: dict[str, str]) -> str:
    """Return what `health` says where neither process runs; it exits with 1."""
    options = [option for name, value in environment.items() for option in ("--env", f"{name}={value}")]
    done = subprocess.run(
        [DOCKER, "run", "--rm", *HARDENED, *options, image, "health"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr
