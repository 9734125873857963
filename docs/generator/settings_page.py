"""The page of all settings, generated from the code."""

import json
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.generator.markdown import table
from schemas.settings import Settings

_INTRO: Final = """\
# Settings

For operators. These environment variables are read once at the start. A process refuses a wrong value with exit
status 2 and one line. The line names the variable and shows an example, and never the wrong value. `sleepctl
settings` lists all of them as they are set.

"""
_RULES: Final = """
## What a value may hold

- An empty variable counts as unset. Docker Compose writes one for `${X:-}`.
- Refused are white space or a line break at either end, quotation marks around the value, and invisible characters.
  Unreplaced placeholders (`${X}`) and words for no value (`null`, `None`, `undefined`) are refused too. A password
  may have such words, quotation marks and dollar signs. JSON may have blanks around it.
- Numbers are decimal digits.
- _Service links_ are ignored, with a warning. Kubernetes writes them for each Service of the namespace, such as
  `SLEEP_API_PORT=tcp://10.96.0.17:8080` for a Service called `sleep-api`. `enableServiceLinks: false` prevents them.
- Any other unknown `SLEEP_` variable is ignored, with a warning. The warning names the most similar setting.

## Options of `SLEEP_REDIS_URL`

`db`, `client_name`, `health_check_interval` and `socket_keepalive`; with `rediss://` also `ssl_ca_certs`,
`ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and `ssl_check_hostname`. Another option is refused. Timeouts and retries
are fixed.

## Variables of other programs

| variable | effect |
| --- | --- |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | Certificate authorities for connections with TLS; see below. |
| `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `.netrc` | None. `SLEEP_JWT_JWKS_PROXY` names a proxy. |
| `SSLKEYLOGFILE`, `REQUESTS_CA_BUNDLE`, Faust's own variables | None. |

Connections to Kafka, Redis, OPA, the JWKS and `SLEEP_URL` trust the authorities of `SSL_CERT_FILE` and
`SSL_CERT_DIR`, unless a setting names others. If TLS is used, a wrong value of the two is refused by its name.
Otherwise it is ignored.

## Variables of the command line

| variable | example | meaning |
| --- | --- | --- |
| `SLEEP_URL` | `http://127.0.0.1:8080` | Address of the API, for `send`, `state` and `tenants`. |
| `SLEEP_TOKEN` | | Bearer token for them, without `Bearer`. |
"""


def settings_page() -> str:
    """Return the page of all settings; a secret's value is never in it."""
    rows = [
        (f"`SLEEP_{name.upper()}`", _default(field), f"`{(field.examples or [''])[0]}`", field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return _INTRO + table(("variable", "default", "example", "meaning"), rows) + _RULES


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    if field.default is None:
        return "(none)"
    if isinstance(field.default, SecretStr):
        return "(masked)"
    return f"`{json.dumps(field.default) if isinstance(field.default, dict) else field.default}`"
