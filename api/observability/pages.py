"""The pages of one API process about itself."""

from api.observability.metrics import CONTENT_TYPE, Metrics
from api.observability.status import Status
from schemas.http.pages import OK, Page, PageName, Pages, document


def pages_of(status: Status, metrics: Metrics) -> Pages:
    """Return the pages `metrics` and `status` of this process. It alone decides whether it is ready."""

    async def page(name: PageName) -> Page:
        if name == "metrics":
            return Page(OK, metrics.render().decode(), CONTENT_TYPE)
        return document(status.document(), good=status.good)

    return page
