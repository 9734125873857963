"""`/api/brain/sleep_policy`: the tenant's policy, versioned by entity tags."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Response

from api.describe.documents import PolicyAnswer, PreviewDocument
from api.describe.openapi import BODY, takes
from api.describe.openapi import answers as describe
from api.describe.problems import ProblemError
from api.door.bodies import PolicyBody, body_of
from api.door.caller import CallerDep, IfMatchDep, PreferenceDep, ServicesDep
from api.door.etag import etag
from api.door.prefer import Preference
from api.operate.dependency import UnavailableError
from api.publish import answers
from api.publish.receipt import Receipt
from api.publish.sender import Sender, SenderDep
from api.read.views import PolicyView
from api.services import Services
from schemas.policy import FieldError, InvalidDocumentError, PolicyDocument, parse_policy

router = APIRouter(prefix="/api/brain/sleep_policy", tags=["policy"])
PATTERNS_OF_A_READ: Final = 200
"""Characters of patterns for which a preview costs one read more."""
_VERSIONED = ("precondition_required", "version_conflict")


async def _may_read(caller: CallerDep) -> None:
    """Ask before a body is looked at."""
    await caller.authorise("read")


async def _may_change(caller: CallerDep) -> str:
    """Return the id of the decision that allows it, before body and `If-Match` are looked at."""
    return await caller.authorise("cognitive_sleep_policy")


DecisionDep = Annotated[str, Depends(_may_change)]


def _answer(view: PolicyView, headers: dict[str, str]) -> Response:
    return answers.document(view._asdict(), headers=headers | {"ETag": etag(view.policy_version)})


@router.get(
    "",
    summary="The policy that holds.",
    responses=describe(PolicyAnswer, "The policy, filled, and its ETag."),
)
async def show(services: ServicesDep, caller: CallerDep) -> Response:
    """Show the tenant's policy, or the rules' one."""
    await caller.authorise("read")
    return _answer(await services.reads.policy(caller.tenant), {})


@router.put(
    "",
    summary="Replace the tenant's policy.",
    responses=describe(
        PolicyAnswer, "The new policy, filled, and its ETag.", *BODY, *_VERSIONED, "invalid_policy", may_wait=True
    ),
    openapi_extra=takes(PolicyDocument),
)
async def replace(
    services: ServicesDep,
    decision_id: DecisionDep,
    sender: SenderDep,
    preference: PreferenceDep,
    versions: IfMatchDep,
    body: Annotated[dict[str, Any], Depends(body_of(PolicyBody))],
) -> Response:
    """Publish `sleep.policy.v1` with a policy; absent fields take the built-in values."""
    return await _change(services, sender, decision_id, preference, versions, body)


@router.delete(
    "",
    summary="Return to the default policy.",
    responses=describe(PolicyAnswer, "The default policy, and its ETag.", *_VERSIONED, may_wait=True),
)
async def clear(
    services: ServicesDep,
    decision_id: DecisionDep,
    sender: SenderDep,
    preference: PreferenceDep,
    versions: IfMatchDep,
) -> Response:
    """Publish `sleep.policy.v1` without a policy."""
    return await _change(services, sender, decision_id, preference, versions, None)


@router.post(
    "/preview",
    summary="What a policy would decide now.",
    responses=describe(PreviewDocument, "The tenant as it is, and as it would be.", *BODY, "invalid_policy"),
    openapi_extra=takes(PolicyDocument),
    dependencies=[Depends(_may_read)],
)
async def preview(
    services: ServicesDep, caller: CallerDep, body: Annotated[dict[str, Any], Depends(body_of(PolicyBody))]
) -> Response:
    """Decide under the policy, and publish nothing. Patterns of 200 characters together cost one read more."""
    try:
        policy = parse_policy(body)
    except InvalidDocumentError as error:
        raise ProblemError("invalid_policy", str(error), errors=error.errors) from None
    # The longest patterns over the most breakers take 50 ms: as plain reads, one tenant's could fill a process.
    patterns = sum(len(rule["match"]) for rule in policy.document["breakers"])
    if (more := patterns // PATTERNS_OF_A_READ) > 0:
        await caller.identity.spend("read", caller.tenant, more)
    return answers.document(await services.reads.preview(caller.tenant, policy))


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
    outcome = await answers.submit(services, caller, order, preference.patience(async_mode=False))
    answered = not isinstance(outcome, Receipt)
    headers = answers.preference_applied(preference, async_mode=False, answered=answered)
    if isinstance(outcome, Receipt):
        return answers.accepted(services, outcome, headers)
    if outcome.code is not None:
        errors = _wrong_fields(policy) if outcome.code == "invalid_policy" else None
        raise answers.refusal(outcome, outcome.code, errors)
    if (written := _written(policy, data.get("if_version"))) is not None:
        return _answer(written, headers)
    try:
        view = await services.reads.policy(caller.tenant)
    except UnavailableError:
        # The change is made; only its result cannot be shown now.
        return answers.accepted(services, outcome, headers)
    return _answer(view, headers)


def _written(policy: dict[str, Any] | None, replaced: int | None) -> PolicyView | None:
    """Return the policy that took the place of a version, None where only Redis can tell.

    Somebody may have replaced it since; whoever got that one's tag for their own policy would overwrite it unseen.
    """
    if policy is None or replaced is None:
        return None
    try:
        return PolicyView(parse_policy(policy).document, replaced + 1, default=False)
    except InvalidDocumentError:
        return None  # A newer worker took what is not known here.


async def _expected(services: Services, tenant: str, versions: frozenset[int]) -> int:
    """Return the one version for the log to compare; of several, the present one.

    Raises:
        ProblemError: `version_conflict` where none can match.
    """
    if len(versions) == 1:
        return next(iter(versions))
    present = (await services.reads.policy(tenant)).policy_version if versions else None
    if present is None or present not in versions:
        raise ProblemError("version_conflict", "the policy has another version than If-Match names; read it again")
    return present


def _wrong_fields(policy: dict[str, Any] | None) -> list[FieldError]:
    """Return what is wrong with a policy that the log refused."""
    try:
        parse_policy(policy)
    except InvalidDocumentError as error:
        return error.errors
    return []
