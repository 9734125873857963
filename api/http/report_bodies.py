"""Reads the body of a report in the format of a library."""

from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Header, Request

from api.commands.operation_id import new_id
from api.commands.reports import read_reports
from api.errors.problems import ProblemError
from api.http.bodies import media_type_of, read_limited
from api.http.dependencies import IdentityDep, ServicesDep, require_once
from schemas.formats.report import Reading
from schemas.formats.settings import HTTP_FORMATS, HttpFormat, HttpFormatName

_TENANT: Final = "X-Tenant-Id"


class Reports(NamedTuple):
    """The format of a request, and what was read in it."""

    format: HttpFormatName
    reading: Reading


async def _reports(
    request: Request,
    services: ServicesDep,
    identity: IdentityDep,
    x_tenant_id: Annotated[
        str | None, Header(description="Another tenant than the token's, where policy allows it.")
    ] = None,
) -> Reports:
    """Read the breaker events of a request.

    Raises:
        ProblemError: `not_found` for an unknown format; as `read_limited` and `read_reports`; `too_many_in_flight`.
    """
    require_once(request, _TENANT)
    settings = _format_of(request.path_params["format"], services.formats)
    body = await read_limited(request)
    identity.slot.arrived()
    reading = read_reports(
        settings,
        media_type_of(request),
        request.headers.raw,
        body,
        caller=identity.principal.tenant if x_tenant_id is None else x_tenant_id,
        id_=new_id(services.clock()),
    )
    return Reports(settings.format, reading)


def _format_of(name: str, formats: dict[str, HttpFormat]) -> HttpFormat:
    settings = formats.get(name)
    if settings is None:
        raise ProblemError("not_found", f"there is no such format; known: {', '.join(HTTP_FORMATS)}")
    return settings


ReportsDep = Annotated[Reports, Depends(_reports)]
