"""`/api/brain/sleep_policy`: the tenant's policy, versioned by entity tags."""

from typing import Any, Final

from fastapi import APIRouter, Response

from api.adapters.dependency import UnavailableError
from api.commands.form import require_policy
from api.commands.receipt import Receipt
from api.commands.sender import Sender, SenderDep
from api.errors.problems import ProblemError, publishes_nothing
from api.http import responses
from api.http.bodies import DocumentDep, policy_of
from api.http.dependencies import CallerDep, IfMatchDep, PreferenceDep, ServicesDep
from api.http.etag import etag, parse_if_match
from api.http.prefer import Preference
from api.openapi.document import BODY, describe, takes
from api.queries.tenant import PolicyView
from api.services import Services
from schemas.domain.policy import PolicyDocument, parse_policy
from schemas.wire.documents import PolicyAnswer, PreviewDocument

router = APIRouter(prefix="/api/brain/sleep_policy", tags=["policy"])
PATTERNS_OF_A_READ: Final = 200
"""For each this many characters of patterns, a preview costs one read more."""
_VERSIONED = ("precondition_required", "version_conflict")


def _answer(view: PolicyView, headers: dict[str, str]) -> Response:
    return responses.document(view._asdict(), headers=headers | {"ETag": etag(view.policy_version)})


@router.get(
    "",
    operation_id="getSleepPolicy",
    summary="The policy that holds.",
    responses=describe(PolicyAnswer, "The policy, filled, and its ETag.", headers=("ETag",)),
)
async def show(services: ServicesDep, caller: CallerDep) -> Response:
    """Show the tenant's policy, or that of the rules."""
    await caller.authorise("read")
    return _answer(await services.reads.policy(caller.tenant), {})


@router.put(
    "",
    operation_id="replaceSleepPolicy",
    summary="Replace the tenant's policy.",
    responses=describe(
        PolicyAnswer,
        "The new policy, filled, and its ETag.",
        *BODY,
        *_VERSIONED,
        "invalid_policy",
        may_wait=True,
        headers=("ETag",),
    ),
    openapi_extra=takes(PolicyDocument),
)
async def replace(
    services: ServicesDep, sender: SenderDep, preference: PreferenceDep, if_match: IfMatchDep, document: DocumentDep
) -> Response:
    """Publish `sleep.policy.v1` with a policy; absent fields take the built-in values.

    An invalid policy is refused before its version is compared.
    """
    decision_id = await sender.caller.authorise("cognitive_sleep_policy")
    policy = policy_of(document)
    require_policy(policy)
    return await _change(services, sender, decision_id, preference, parse_if_match(if_match), policy)


@router.delete(
    "",
    operation_id="resetSleepPolicy",
    summary="Return to the default policy.",
    responses=describe(
        PolicyAnswer, "The default policy, and its ETag.", *_VERSIONED, may_wait=True, headers=("ETag",)
    ),
)
async def clear(services: ServicesDep, sender: SenderDep, preference: PreferenceDep, if_match: IfMatchDep) -> Response:
    """Publish `sleep.policy.v1` without a policy."""
    decision_id = await sender.caller.authorise("cognitive_sleep_policy")
    return await _change(services, sender, decision_id, preference, parse_if_match(if_match), None)


@router.post(
    "/preview",
    operation_id="previewSleepPolicy",
    summary="What a policy would decide now.",
    responses=describe(PreviewDocument, "The tenant as it is, and as it would be.", *BODY, "invalid_policy"),
    openapi_extra=takes(PolicyDocument),
)
@publishes_nothing
async def preview(services: ServicesDep, caller: CallerDep, document: DocumentDep) -> Response:
    """Decide under the policy, and publish nothing. Patterns of 200 characters together cost one read more."""
    await caller.authorise("read")
    policy = require_policy(policy_of(document))
    # The longest patterns over the most breakers take 50 ms. At the cost of one read, a tenant could fill a process.
    patterns = sum(len(rule["match"]) for rule in policy.document["breakers"])
    if (more := patterns // PATTERNS_OF_A_READ) > 0:
        await caller.identity.spend("read", caller.tenant, more)
    return responses.document(await services.reads.preview(caller.tenant, policy))


async def _change(
    services: Services,
    sender: Sender,
    decision_id: str,
    preference: Preference,
    versions: frozenset[int] | None,
    policy: dict[str, Any] | None,
) -> Response:
    caller = sender.caller
    data: dict[str, Any] = {"policy": policy}
    if versions is not None:
        data["if_version"] = await _expected(services, caller.tenant, versions)
    order = sender.order("policy", decision_id, data)
    submitted = await responses.submit(services, caller, order, preference.patience(async_mode=False))
    outcome = submitted.outcome
    headers = responses.preference_applied(preference, submitted, async_mode=False)
    if isinstance(outcome, Receipt):
        return responses.accepted(services, outcome, headers)
    if outcome.code is not None:
        raise responses.refusal(outcome, outcome.code)
    if (written := _written(policy, data.get("if_version"))) is not None:
        return _answer(written, headers)
    try:
        view = await services.reads.policy(caller.tenant)
    except UnavailableError:
        # The change is made, but its result cannot be read now.
        return responses.accepted(services, outcome, headers)
    return _answer(view, headers)


def _written(policy: dict[str, Any] | None, replaced: int | None) -> PolicyView | None:
    """Return the policy that replaced a version, None if it has to be read from Redis.

    Another caller may have replaced it since. With the tag of that later policy, this caller would overwrite it unseen.
    """
    if policy is None or replaced is None:
        return None
    return PolicyView.of(parse_policy(policy), replaced + 1, default=False)


async def _expected(services: Services, tenant: str, versions: frozenset[int]) -> int:
    """Return the version that the log must compare; of several, the current one.

    Raises:
        ProblemError: `version_conflict` if no version can match.
    """
    if len(versions) == 1:
        return next(iter(versions))
    current = (await services.reads.policy(tenant)).policy_version if versions else None
    if current is None or current not in versions:
        raise ProblemError("version_conflict", "the policy has another version than If-Match names; read it again")
    return current
