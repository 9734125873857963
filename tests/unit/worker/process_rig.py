"""A worker process of fakes: each part notes when it is started and stopped."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from schemas.names import Topics
from schemas.settings import Settings
from tests.support.fakes import FakeStore
from tests.support.settings import settings_of
from worker.runtime.worker import Worker


class FakeApp:
    """A Faust app that only notes what happens to it; `dies` lets it give up."""

    def __init__(self, steps: list[str], failure: Exception | None = None) -> None:
        self.steps = steps
        self.failure = failure
        self.crash_reason: Exception | None = None
        self.started = asyncio.Event()
        self.stopping: Callable[[], object] = lambda: None
        self._crashed = asyncio.Event()
        self._stopped = asyncio.Event()
        self.consumer = SimpleNamespace(offset_range=self._offset_range)

    async def _offset_range(self, partition: int) -> tuple[int, int]:
        return partition, 99

    async def start(self) -> None:
        self.steps.append("app starts")
        if self.failure is not None:
            raise self.failure
        self.started.set()

    async def stop(self) -> None:
        self.stopping()
        self.steps.append("app stops")

    async def wait_until_stopped(self) -> None:
        await self._stopped.wait()

    def crash(self, reason: Exception) -> None:
        self.crash_reason = reason
        self._crashed.set()


class NotedStore(FakeStore):
    """A store that notes its end."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self._steps = steps

    async def info(self) -> dict[str, dict[str, object]]:
        return {"": {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}}

    def primaries(self, _partitions: int) -> "NotedStore":
        return self

    async def write_errors(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        self._steps.append("store closes")


class ProcessRig:
    """A worker whose every surrounding is noted: `steps` in the order in which they happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.apps: list[FakeApp] = []
        self.ingress_apps: list[FakeApp] = []
        self.ingress_failures: list[Exception] = []
        self.failures: dict[str, list[Exception]] = {"verify": [], "connect": [], "build": [], "app": []}
        monkeypatch.setattr("worker.runtime.worker.StatusPage", lambda *_: self._service("page"))
        monkeypatch.setattr("worker.runtime.worker.verify_topics", self._verify)
        monkeypatch.setattr("worker.runtime.worker.build_app", self._build)
        monkeypatch.setattr("worker.runtime.worker.build_ingress_app", self._build_ingress)
        monkeypatch.setattr("worker.runtime.worker.KafkaOutputs", lambda _: self._service("outputs"))
        monkeypatch.setattr("worker.runtime.worker.KafkaReader", lambda *_: self._service("reader"))
        monkeypatch.setattr(
            "worker.runtime.worker.LaneStore", SimpleNamespace(connect=lambda _: NotedStore(self.steps))
        )
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()

    def _service(self, name: str) -> SimpleNamespace:
        async def start() -> None:
            if failures := self.failures.get({"outputs": "connect"}.get(name, name)):
                raise failures.pop(0)
            self.steps.append(f"{name} starts")

        async def stop() -> None:
            self.steps.append(f"{name} stops")

        async def end(*_: object) -> int:
            return 0

        async def partition_counts() -> dict[str, int]:
            return dict.fromkeys(Topics.of("sleep"), 8)

        return SimpleNamespace(
            start=start,
            stop=stop,
            end=end,
            topics=Topics.of("sleep"),
            require_fit=lambda _: None,
            partition_counts=partition_counts,
        )

    async def _verify(self, _: Settings) -> None:
        if self.failures["verify"]:
            raise self.failures["verify"].pop(0)
        self.steps.append("topics verified")

    def _build(self, *_: object) -> FakeApp:
        if self.failures["build"]:
            raise self.failures["build"].pop(0)
        self.apps.append(FakeApp(self.steps, self.failures["app"].pop(0) if self.failures["app"] else None))
        return self.apps[-1]

    def _build_ingress(self, *_: object) -> FakeApp:
        self.ingress_apps.append(FakeApp([], self.ingress_failures.pop(0) if self.ingress_failures else None))
        return self.ingress_apps[-1]

    def worker(self, *, embedded: bool = False, ingress: bool = False) -> Worker:
        """Return the worker; it has to be made after its surroundings."""
        settings = settings_of() if ingress else settings_of(ingress=[])
        return Worker(settings, embedded=embedded)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let everybody work until something is so."""
        while not condition():
            await asyncio.sleep(0)
