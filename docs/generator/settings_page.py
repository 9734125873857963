"""The page of all settings, generated from the code."""

import json
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.generator.markdown import table
from schemas.formats.settings import TopicFormat
from schemas.settings import Settings

_INTRO: Final = """\
# Settings

For operators. These environment variables are read once at the start. A process refuses a wrong value with exit
status 2 and one line. The line names the variable and shows an example, and never the wrong value. `sleepctl
settings` lists all of them as they are set.

"""
TOPICS: Final[dict[str, dict[str, str]]] = {
    "cloudevents": {"topic": "breakers"},
    "resilience4j": {"topic": "actuator", "format": "resilience4j", "tenant": "pattern:{tenant}.{service}"},
    "opossum": {"topic": "node", "format": "opossum", "tenant": "header:tenant", "instance": "header:pod"},
    "gobreaker": {"topic": "go", "format": "gobreaker", "tenant": "header:tenant"},
    "envoy": {"topic": "outliers", "format": "envoy", "tenant": "pattern:{service}-{tenant}", "instance": "key"},
    "hystrix": {"topic": "hystrix", "format": "hystrix", "tenant": "field:tenant"},
    "alertmanager": {"topic": "alerts", "format": "alertmanager", "tenant": "label:tenant", "instance": "label:pod"},
}
"""A topic in each format, as `SLEEP_INGRESS` names it."""
HTTP: Final[dict[str, str]] = {"format": "alertmanager", "tenant": "label:customer", "breaker": "label:service"}
"""A format, as `SLEEP_HTTP_FORMATS` names it."""
_NOT_NAMED: Final = {"cloudevents": "in the document", "gobreaker": "none: all processes share the breaker"}
"""Where the instance is that a setting cannot name."""
_FORMATS: Final = """
## Formats

`SLEEP_INGRESS` is a list of topics. Each has a `topic`, a `format` (default `cloudevents`), and where the tenant, the
breaker and the instance are found: `tenant`, `breaker`, `instance`. An example of each format; a list may have any
number of them:

"""
_PLACES: Final = """
A place is one of these texts:

| place | the text is |
| --- | --- |
| `subject` | the `subject` of a CloudEvent |
| `key` | the key of the record |
| `header:NAME` | the header of that name, in any case, which is there once |
| `field:PATH` | a field of the document, with dots between the names of objects: `tags.tenant` |
| `label:NAME` | a label of an alert |
| `pattern:PATTERN` | `{tenant}` in a pattern that the breaker's name matches |
| `caller` | the tenant of the token, or of `X-Tenant-Id` (HTTP only) |

A pattern is a text with names in braces, such as `svc-{service}/{tenant}`. Each name takes at least one character, and
ends before the first character that follows it in the pattern. Nothing else is special. So `{tenant}.{rest}` takes
`acme` from `acme.payments.eu`. A breaker's name that does not match is a dead letter. Matching takes time linear in the
name.

What each format may name, and the default in bold:

| format | `tenant` | `breaker` | `instance` |
| --- | --- | --- | --- |
"""
_HTTP: Final = """
Over HTTP `SLEEP_HTTP_FORMATS` names a format in the same way, without a topic and a `key`. A format that the list does
not name has its defaults: the tenant of the `caller`, the instance in the header `X-Breaker-Instance`, and gobreaker's
name in `X-Breaker-Name`. Alertmanager has `label:tenant`, `label:alertname` and its fingerprint. CloudEvents have an
endpoint of their own and are not in the list.

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
    return _INTRO + table(("variable", "default", "example", "meaning"), rows) + _formats() + _RULES


def _formats() -> str:
    examples = "\n".join(f"    {json.dumps(topic)}" for topic in TOPICS.values())
    rows = [
        f"| `{name}` | {' or '.join(_places(kinds.tenant, kinds.defaults.get('tenant')))} | "
        f"{' or '.join(_places(kinds.breaker, kinds.defaults.get('breaker'))) or 'in the document'} | "
        f"{' or '.join(_places(kinds.instance, kinds.defaults.get('instance'))) or _NOT_NAMED[name]} |"
        for name, kinds in sorted(TopicFormat.kinds.items())
    ]
    return f"{_FORMATS}{examples}\n{_PLACES}" + "\n".join(rows) + f"\n{_HTTP}    [{json.dumps(HTTP)}]\n"


def _places(kinds: tuple[str, ...], default: str | None) -> list[str]:
    """Return the kinds of places in Markdown, the default in bold."""
    named = [f"`{kind}`" for kind in kinds if default is None or kind != default.partition(":")[0]]
    return named if default is None else [f"**`{default}`**", *named]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    if field.default in (None, ()):
        return "(none)"
    if isinstance(field.default, SecretStr):
        return "(masked)"
    return f"`{json.dumps(field.default) if isinstance(field.default, dict) else field.default}`"
