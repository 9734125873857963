"""What a run sends to a tenant: one command, a cancel of each live operation, or a policy that replaces a version.

Each may be carried out again: the key of a command follows from the run and the tenant, so the log recognises it.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from schemas.domain.policy import parse_policy
from schemas.wire.operation_ids import operation_id_of
from sleepctl.io.api_client import Answer
from sleepctl.io.tenant_pages import Calls
from sleepctl.mass.run_file import Head, Result
from sleepctl.mass.targets import Target
from sleepctl.ui.errors import CommandError

KEY_HEADER: Final = "Idempotency-Key"
POLICY: Final = "/api/brain/sleep_policy"
_SLEEP: Final = "/api/util/sleep"
_NO_ACKNOWLEDGEMENT: Final = "outcome_unknown"
_NOT_FOUND: Final = 404
_ACCEPTED: Final = 202
_UNAUTHENTICATED: Final = 401
_ENDED: Final = "not_running"


class StoppedRunError(CommandError):
    """A run cannot go on now, and can be continued."""


class MassCommand(Protocol):
    """A command to each tenant of a run."""

    async def send(self, api: Calls, run: Head, target: Target, *, old: bool) -> Result | None:
        """Send a tenant its command and return the answer, None if the outcome is not known yet.

        Args:
            api: sends the requests.
            run: the run.
            target: the tenant, and what the command is given.
            old: whether the command was perhaps sent longer ago than the log remembers.

        Raises:
            NoAnswerError: if the API does not answer.
            StoppedRunError: if it accepts nothing from this caller.
        """
        ...


def key_of(run: str) -> str:
    """Return the idempotency key of a run's commands."""
    return f"run:{run}"


class OneCommand(NamedTuple):
    """One request to each tenant, the same for all.

    Attributes:
        method, path, body: the request.
        headers: its headers beside those that every run sends.
        takes_reason: whether the body may have a reason. Without one it is the run, so that the audit names the run.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}
    takes_reason: bool = False

    async def send(self, api: Calls, run: Head, target: Target, *, old: bool) -> Result | None:
        """Send the request; see `MassCommand`. If it may be forgotten, its outcome is looked up first."""
        key = key_of(run.run)
        operation_id = operation_id_of(target.tenant, run.subject, key)
        if old:
            path = f"/api/operations/{operation_id}"
            operation = _allowed(await api.call("GET", path, tenant=target.tenant))
            # Nobody knows whether the log has one that got no acknowledgement. If it has, it knows the id.
            if not operation.failed and operation.document["code"] != _NO_ACKNOWLEDGEMENT:
                return _outcome(operation.document)
            if operation.failed and operation.status != _NOT_FOUND:
                raise StoppedRunError(f"the outcome for {target.tenant} cannot be looked up: {operation.problem()}")
        headers = {**self.headers, KEY_HEADER: key}
        body = self.body
        if self.takes_reason and body is not None:
            body = {"reason": f"run {run.run}", **body}
        answer = await api.call(self.method, self.path, tenant=target.tenant, body=body, headers=headers)
        return _result(answer, operation_id)


class CancelAll(NamedTuple):
    """A cancel of the operation that the target names, or of each live operation of the tenant."""

    headers: Mapping[str, str] = {}

    async def send(self, api: Calls, run: Head, target: Target, *, old: bool) -> Result | None:  # noqa: ARG002 - see below
        """Cancel; see `MassCommand`. A cancelled operation is no longer live, so nothing is looked up."""
        if target.given is not None:
            return await self._cancel(api, run, target.tenant, target.given)
        listed = _allowed(await api.call("GET", _SLEEP, tenant=target.tenant))
        if listed.failed:
            return _result(listed, None)
        last: Result | None = Result(done=True, code="nothing_to_cancel")
        for operation in listed.document["operations"]:
            last = await self._cancel(api, run, target.tenant, operation["operation_id"])
            if last is None or not last.done:
                break
        return last

    async def _cancel(self, api: Calls, run: Head, tenant: str, operation_id: str) -> Result | None:
        # A key has at most 128 characters, as an operation id has.
        key = f"{key_of(run.run)}:{sha256(operation_id.encode()).hexdigest()[:32]}"
        path = f"{_SLEEP}/{quote(operation_id, safe='')}"
        answer = await api.call("DELETE", path, tenant=tenant, headers={**self.headers, KEY_HEADER: key})
        result = _result(answer, operation_id)
        if result is not None and result.code == _ENDED:
            return Result(done=True, code=_ENDED, operation_id=operation_id)
        return result


class ReplacePolicy(NamedTuple):
    """The policy that the target names replaces the version that the target names, or any version.

    Attributes:
        headers: headers beside those that every run sends.
        any_version: whether the version does not matter.
    """

    headers: Mapping[str, str] = {}
    any_version: bool = False

    async def send(self, api: Calls, run: Head, target: Target, *, old: bool) -> Result | None:  # noqa: ARG002 - see below
        """Replace the policy; see `MassCommand`. Nothing is looked up: a tenant that has it already is left alone."""
        policy, version = target.given
        current = _allowed(await api.call("GET", POLICY, tenant=target.tenant))
        if current.failed:
            return _result(current, None)
        present = current.document
        if not present["default"] and present["policy"] == parse_policy(policy).document:
            return Result(done=True, code="unchanged")
        if not self.any_version and present["policy_version"] != version:
            return Result(
                done=False,
                code="version_conflict",
                detail=f"the file has version {version}, and the tenant has version {present['policy_version']}",
            )
        key = key_of(run.run)
        headers = {**self.headers, KEY_HEADER: key, "If-Match": "*" if self.any_version else f'"{version}"'}
        answer = await api.call("PUT", POLICY, tenant=target.tenant, body=policy, headers=headers)
        return _result(answer, operation_id_of(target.tenant, run.subject, key))


def _allowed(answer: Answer) -> Answer:
    """Return an answer to an accepted token.

    Raises:
        StoppedRunError: if the token is not accepted, such as one that has expired.
    """
    if answer.status == _UNAUTHENTICATED:
        raise StoppedRunError(f"the API does not accept the token: {answer.problem()}; get a new one")
    return answer


def _result(answer: Answer, operation_id: str | None) -> Result | None:
    """Return what an answer to a command says, None if the outcome is not known yet."""
    document = _allowed(answer).document
    operation_id = document.get("operation_id") or operation_id
    if answer.status == _ACCEPTED:
        return None
    if answer.failed:
        detail = document.get("detail") or document.get("title")
        return Result(
            done=False, code=str(document.get("code") or answer.status), operation_id=operation_id, detail=detail
        )
    return Result(done=True, operation_id=operation_id)


def _outcome(operation: Mapping[str, Any]) -> Result | None:
    """Return what an operation's document says, None if the log has not answered."""
    if operation["status"] == "accepted":
        return None
    return Result(operation["status"] != "refused", operation["code"], operation["operation_id"])
