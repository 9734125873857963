"""The entry point of the process: streams, signals, warnings and the exit around every command."""

import atexit
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = 130
_EXIT_SECONDS = 5.0


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its status."""
    ending: list[int] = []
    # Registered first, so called last.
    atexit.register(_skip_teardown, ending)
    # A shell without job control, as in a script, starts background processes with SIGINT ignored. A SIGINT to this
    # process still counts: the event loop handles it.
    listening = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)
    if listening:
        # Ctrl-C while modules load ends the process without a message, as it ends a program in C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _forget_what_breaks_libraries()
    from sleepctl.main import app  # noqa: PLC0415 - see above
    from sleepctl.runtime.ending import LastResort  # noqa: PLC0415 - see above
    from sleepctl.runtime.streams import Streams  # noqa: PLC0415 - see above

    streams = Streams()
    streams.install()
    if listening:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    if listening:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = streams.finish(status)
    # A thread that is not a daemon would keep the process running.
    LastResort().arm(_EXIT_SECONDS)
    ending.append(status)
    sys.exit(status)


def _skip_teardown(ending: list[int]) -> None:
    """End the process before the interpreter's teardown, if its status is known.

    Nothing is left to do then: streams are written, threads joined, exit functions called. The teardown would run the
    destructors of librdkafka, uvloop and others beside their threads. No Python thread could bound that.
    """
    if ending:
        os._exit(ending[0])


def _forget_what_breaks_libraries() -> None:
    """Remove variables that libraries read on their own and that no command needs."""
    # Python would write the keys of each TLS connection to this file.
    os.environ.pop("SSLKEYLOGFILE", None)
    # Faust reads these when it is imported. A Kubernetes Service named `f-web` is enough for a ValueError.
    for name in [name for name in os.environ if name.startswith(("FAUST_", "F_"))]:
        del os.environ[name]
    # A shell's completion sets it together with other variables. Alone it would end every command.
    alone = not {"COMP_WORDS", "_TYPER_COMPLETE_ARGS"} & os.environ.keys()
    if alone and os.environ.get("_SLEEPCTL_COMPLETE", "").startswith("complete_"):
        del os.environ["_SLEEPCTL_COMPLETE"]
    if any(option.startswith("error") for option in sys.warnoptions):
        import warnings  # noqa: PLC0415 - loaded by then

        # `PYTHONWARNINGS=error` is for tests: a library's deprecation must not stop a process.
        warnings.simplefilter("default")


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    """Handle Ctrl-C outside an event loop: the first unwinds the command, a second ends the process."""
    from sleepctl.runtime.ending import INTERRUPTED  # noqa: PLC0415 - loaded by then

    signal.signal(signal.SIGINT, _leave)
    INTERRUPTED.set()
    raise KeyboardInterrupt


def _leave(_: int, __: FrameType | None) -> NoReturn:
    os.write(2, b"sleepctl: stopped at once, at the second Ctrl-C\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
