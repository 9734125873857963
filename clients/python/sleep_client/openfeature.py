"""The provider for OpenFeature: flags that say how the tenant of an evaluation sleeps."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    ErrorCode,
    FlagNotFoundError,
    InvalidContextError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from sleep_client.flags import KEYS, Flag, flag_of
from sleep_client.open_reader import Change
from sleep_client.reader import SleepReader
from sleep_client.reading.errors import NotReady, NotWatched
from sleep_client.reading.session import ReaderStatus, WhenStale
from sleep_client.reading.tenant_state import TenantState

_Value = TypeVar("_Value")
_CLOSE_SECONDS: Final = 5.0


class SleepProvider(AbstractProvider):
    """Answers `sleep.state`, `sleep.K`, `sleep.t`, `sleep.tau`, `sleep.eta`, `sleep.lambda` and `sleep.B`.

        api.set_provider_and_wait(SleepProvider("https://sleep.example", token))
        client = api.get_client()
        client.get_string_value("sleep.state", "active", EvaluationContext("acme"))

    The targeting key is the tenant. `sleep.state` is a string, `sleep.K` an integer, the others are floats. The
    provider has a `SleepReader` from its initialisation to its shutdown: values come from memory, also while the
    server is away.

    Events follow the reader's status. `PROVIDER_CONFIGURATION_CHANGED` says that the flags of some tenants have
    changed.

    Args:
        url: as for `SleepReader`, and so are the others.
        token: see there.
        tenants: see there.
        initial: see there; values before the first states have come.
        max_stale_seconds: see there.
        when_stale: see there.
        wait_seconds: how long the initialisation waits for the first states. Afterwards it fails with
            `PROVIDER_NOT_READY`, and the provider gets ready later.

    Raises:
        ValueError: as for `SleepReader`, but at the initialisation.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        tenants: Iterable[str] | None = None,
        initial: TenantState | None = None,
        max_stale_seconds: float = 60.0,
        when_stale: WhenStale = "hold",
        *,
        wait_seconds: float = 10.0,
    ) -> None:
        super().__init__()
        names = tenants if tenants is None or isinstance(tenants, str) else list(tenants)
        self._open: Callable[[], SleepReader] = lambda: self._reader_class(
            url, token, names, initial, max_stale_seconds, when_stale, self._changed
        )
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._reader: SleepReader | None = None
        # What was emitted last; the registry itself tells of the end of the initialisation.
        self._told: ReaderStatus | None = None
        self._initialising = False

    _reader_class: type[SleepReader] = SleepReader

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - OpenFeature passes it
        """Open the reader and wait for the first states; called by OpenFeature.

        Raises:
            ProviderNotReadyError: if they do not come. The text says why, and what to do.
        """
        self._initialising, self._told = True, None
        self._reader = reader = self._open()
        try:
            reader.wait_ready(self._wait_seconds)
        except NotReady as error:
            with self._lock:
                self._initialising = False
                self._told = reader.status
                if self._told is not ReaderStatus.READY:
                    raise ProviderNotReadyError(str(error)) from None
        with self._lock:
            self._initialising = False
            self._told = ReaderStatus.READY
        self._changed(Change(reader.status, frozenset()))

    def shutdown(self) -> None:
        """Close the reader; called by OpenFeature."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close(_CLOSE_SECONDS)

    def get_metadata(self) -> Metadata:
        """Return the name of the provider."""
        return Metadata(name="Somabrain Sleep")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: ARG002, FBT001 - OpenFeature's signature, here and below
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Refuse: no flag is a boolean."""
        return self._resolve(flag_key, bool, evaluation_context)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Resolve `sleep.state`."""
        return self._resolve(flag_key, str, evaluation_context)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Resolve `sleep.K`."""
        return self._resolve(flag_key, int, evaluation_context)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Resolve one of the other parameters."""
        return self._resolve(flag_key, float, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: no flag is an object."""
        return self._resolve(flag_key, dict, evaluation_context)

    def _resolve(
        self, key: str, kind: type[_Value], context: EvaluationContext | None
    ) -> FlagResolutionDetails[_Value]:
        if key not in KEYS:
            raise FlagNotFoundError(f"there is no flag {key!r:.60}; use one of {', '.join(KEYS)}")
        flag = self._flag(key, context.targeting_key if context is not None else None)
        if type(flag.value) is not kind:
            raise TypeMismatchError(f"flag {key} is of type {type(flag.value).__name__}, not {kind.__name__}")
        value = cast("_Value", flag.value)
        return FlagResolutionDetails(value, None, None, Reason(flag.reason), flag.variant, flag.metadata)

    def _flag(self, key: str, tenant: str | None) -> Flag:
        if not tenant:
            raise TargetingKeyMissingError("the targeting key is the tenant: set it in the evaluation context")
        reader = self._reader
        if reader is None:
            raise ProviderNotReadyError("the provider is not initialised, or was shut down")
        try:
            flag = flag_of(key, reader.state(tenant))
        except NotReady as error:
            raise ProviderNotReadyError(str(error)) from None
        except (NotWatched, ValueError) as error:
            raise InvalidContextError(str(error)) from None
        if flag is None:
            raise FlagNotFoundError(f"flag {key}: the state that was given as `initial` has no such parameter")
        return flag

    def _changed(self, change: Change) -> None:
        """Emit events; called in the reader's thread. OpenFeature runs handlers in threads of its own."""
        with self._lock:
            if self._initialising:
                return
            status = change.status if change.status is not self._told else None
            self._told = change.status
        if status is ReaderStatus.READY:
            self.emit_provider_ready(ProviderEventDetails(message="the stream of states is open"))
        elif status is ReaderStatus.STALE:
            self.emit_provider_stale(ProviderEventDetails(message="the stream of states is lost; forecasts go on"))
        elif status is ReaderStatus.ERROR:
            text = "the server refuses the reader, or the stream has been lost for too long; see the log"
            self.emit_provider_error(ProviderEventDetails(message=text, error_code=ErrorCode.GENERAL))
        if change.tenants != frozenset():
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=list(KEYS)))
