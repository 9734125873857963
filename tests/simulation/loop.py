"""A deterministic event loop: virtual time, one thread, no sockets, and a seed that says which ready task runs next.

Every callback belongs to the virtual machine in whose context it was scheduled. A machine that is frozen runs nothing:
what becomes ready meanwhile is kept for it, so that it can be stopped between any two steps of any of its tasks, for
a while or for good.
"""

import asyncio
import heapq
import random
from asyncio import Future, Handle, Task, TimerHandle
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar, TypeVarTuple

_MANY_ROUNDS: Final = 20
_LONGEST_SECONDS: Final = 1_000.0
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Machine:
    """What can be frozen: everything that runs in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.kept: list[Handle] = []
        self.context = Context()
        self.context.run(_MACHINE.set, self)


_MACHINE: ContextVar[Machine] = ContextVar("machine")
OUTSIDE = Context()
"""The context of what belongs to no machine: the network, the servers, and the source of the faults."""


class Loop(asyncio.BaseEventLoop):
    """Runs what is ready, in an order drawn from the seed, and lets time pass when nothing is."""

    def __init__(self, chance: random.Random) -> None:
        self._running = False
        self._ended = False
        super().__init__()
        self.errors: list[BaseException] = []
        self._random = chance.random
        self._now = 0.0
        self._count = 0
        self._runnable: list[Handle] = []
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._tasks: list[tuple[Task[Any], Machine | None]] = []

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - asyncio's own
        """Run a coroutine to its end, in the context of no machine."""
        self._running = True
        asyncio._set_running_loop(self)  # noqa: SLF001 - how a loop announces itself
        try:
            main = self.create_task(future, context=OUTSIDE)
            while not main.done():
                self._step()
            self._end()
            return main.result()
        finally:
            self._running, self._ended = False, True
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above

    def _step(self) -> None:
        ready = self._runnable
        while not ready:
            self._pass_time()
        index = int(self._random() * len(ready))
        handle = ready[index]
        ready[index] = ready[-1]
        ready.pop()
        machine = handle._context.get(_MACHINE)  # type: ignore[attr-defined]  # noqa: SLF001 - whose it is
        if machine is not None and machine.frozen:
            machine.kept.append(handle)
        elif not handle.cancelled():
            handle._run()  # noqa: SLF001 - how a loop runs a handle

    def _pass_time(self) -> None:
        """Go to the time of the next timer, and make ready all that are due then."""
        timers, now = self._timers, None
        while timers and (now is None or timers[0][0] <= now):
            when, _, handle = heapq.heappop(timers)
            if not handle.cancelled():
                now = when
                self._runnable.append(handle)
        if now is None:
            raise AssertionError("nothing will ever happen again")
        self._now = max(self._now, now)
        assert self._now < _LONGEST_SECONDS, "the run has no end"

    def thaw(self, machine: Machine) -> None:
        """Let a machine go on where it was stopped."""
        machine.frozen = False
        self._runnable += machine.kept
        machine.kept.clear()

    def _end(self) -> None:
        """Cancel every task, those of frozen machines too, and run what that takes."""
        for _ in range(_MANY_ROUNDS):
            left = [(task, machine) for task, machine in self._tasks if not task.done()]
            if not left:
                return
            for task, machine in left:
                if machine is not None:
                    self.thaw(machine)
                task.cancel()
            while self._runnable:
                self._step()
        raise AssertionError("there are tasks that do not end")

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> Handle:
        handle = Handle(callback, args, self, context if context is not None else copy_context())
        self._runnable.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> TimerHandle:
        handle = TimerHandle(when, callback, args, self, context if context is not None else copy_context())
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> Future[Any]:
        return Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> Task[_T]:
        context = context if context is not None else copy_context()
        task: Task[_T] = Task(coro, loop=self, name=None if name is None else str(name), context=context)
        self._tasks.append((task, context.get(_MACHINE)))
        return task

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._ended

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what a callback raised; a task's exception is its owner's to fetch."""
        if "handle" in context:
            self.errors.append(context["exception"])

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """Leave a cancelled timer where it is: its time comes, and it is passed over."""
