"""An OPA server with the shipped policy: a container where the other services are, else a process."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from docker.errors import DockerException
from testcontainers.core.image import DockerImage

from tests.services.base import Kind, Service, UnavailableError
from tests.services.containers import opa_container, opa_image
from tests.services.jars import cache_folder
from tests.services.opa_program import find_opa
from tests.services.probe import LOOPBACK, free_port, opa_answers
from tests.services.processes import ProcessService

POLICY = Path(__file__).parents[2] / "deploy" / "opa"


def serve(address: str, policy: str) -> list[str]:
    """The arguments that make `opa` serve a policy folder: as the how-to page shows, and with decision ids."""
    options = [
        "--skip-version-check",
        "--log-level",
        "error",
        "--set",
        "decision_logs.console=true",
        "--ignore",
        "*_test.rego",
    ]
    return ["run", "--server", "--addr", address, *options, policy]


class OpaProcess(ProcessService):
    """An OPA server as a child process."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._listen = f"{LOOPBACK}:{free_port()}"
        self._program = program
        super().__init__("OPA", f"http://{self._listen}", folder / "opa")

    def command(self) -> Sequence[str]:
        return [str(self._program), *serve(self._listen, str(POLICY))]

    def answers(self) -> bool:
        return opa_answers(self.address)


def _process(folder: Path) -> Service:
    try:
        return OpaProcess(folder, find_opa(cache_folder()))
    except FileNotFoundError as error:
        raise UnavailableError("no opa, and no go (package golang-go) to build one with") from error
    except OSError as error:
        raise UnavailableError(f"no folder for OPA: {error}; name one with SLEEP_TEST_CACHE") from error
    except subprocess.SubprocessError as error:
        output = getattr(error, "stderr", "") or ""
        raise UnavailableError(f"Go could not build OPA: {error}\n{output[-2000:]}") from error


def _container(folder: Path, stack: ExitStack) -> Service:
    """Bake the policy into an image: the engine may be another machine, which can mount nothing of ours."""
    shutil.copytree(POLICY, folder / "policy")
    (folder / "Dockerfile").write_text(f"FROM {opa_image()}\nCOPY policy /policy\n")
    try:
        image = stack.enter_context(DockerImage(folder, tag=f"somabrain-sleep/test-opa-policy:{folder.name[-8:]}"))
    except (DockerException, requests.RequestException) as error:
        raise UnavailableError(f"the engine cannot build on {opa_image()}: {error}") from error
    return opa_container(str(image), lambda listen: serve(listen, "/policy"))


def _make(kind: Kind, folder: Path, stack: ExitStack) -> Service:
    return _container(folder, stack) if kind is Kind.CONTAINERS else _process(folder)


@contextmanager
def start_opa(kind: Kind) -> Iterator[Service]:
    """An OPA server that answers with the shipped policy, ended after the block.

    Raises UnavailableError where this machine cannot have one in that way, ServiceError when it does not start.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="somabrain-sleep-opa-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        service = _make(kind, folder, stack)
        stack.callback(service.close)
        service.start()
        yield service
