"""What no setting can mean: refused by its name, in one line, with an example and never with the value."""

import pytest

from schemas.environment import SettingsError, flaw, ignored_links, is_service_link, unknown
from schemas.settings import Settings
from schemas.settings_loader import load_ports
from tests.support.settings import REQUIRED, loaded, refusal

FIELDS = sorted(Settings.model_fields)
JSON = ("HTTP_FORMATS", "INGRESS", "RATE_LIMITS")
GOOD = {name: str(info.examples[0]) for name, info in Settings.model_fields.items() if info.examples}
WHOLE = (
    "1e3",
    "0x10",
    "\N{FULLWIDTH DIGIT ONE}",
    "1_0",
    "8.0",
    "-1",
    "+8",
    "eight",
    "8 9",
    "1,000",
    "99999999999999999999",
)
PORT = (*WHOLE, "65536", "8080/tcp", ":8080", "127.0.0.1:8080")
URL = (
    "ftp://hunter2",
    "socks5://hunter2:1",
    "http://",
    "http:/hunter2",
    "https:hunter2",
    "http://hunter2:99999",
    "http://hunter2:0",
    "http://hunter2:http",
    "http://hunter 2",
    "http://[hunter2]",
)
BAD: dict[str, tuple[str, ...]] = {
    "KAFKA_BOOTSTRAP": (
        ":abc", "hunter2", "hunter2:", "hunter2:abc", "hunter2:0", "hunter2:99999", "hunter2:-1", "a:1,,b:2", "a:1,",
        ",a:1", "a:1;b:2", "http://a:1", "PLAINTEXT://a:1", "a b:1", "1.2.3:9092", "hunter2:\N{FULLWIDTH DIGIT NINE}",
        "::1:9092", "[::1]", "[::1:9092", "-a:1", "a..b:1",
    ),
    "KAFKA_SECURITY_PROTOCOL": ("TLS", "SASL", "ssl "),
    "KAFKA_SASL_MECHANISM": ("SCRAM", "GSSAPI", "OAUTHBEARER"),
    "REDIS_URL": (
        "hunter2", "http://hunter2", "unix:///hunter2", "redis://", "redis:///0", "redis://hunter2:0",
        "redis://hunter2:99999", "redis://r/hunter2", "redis://r/-1", "redis://r/0/1", "redis://r/0#hunter2",
        "redis://r?hunter2=1", "redis://r?timeout=hunter2", "redis://r?db=hunter2", "redis://r?ssl_cert_reqs=none",
        "rediss://r?ssl_cert_reqs=hunter2", "redis+cluster://r/1", "redis+cluster://r?db=1", "redis://r:6379,s:6379",
        "redis://hunter 2",
    ),
    "REDIS_PREFIX": ("a b", "{a}", "a:b", "a/b", "ä", "a" * 65),
    "TOPIC_PREFIX": ("a b", "a/b", "ä", "a" * 65),
    "PARTITIONS": (*WHOLE, "0", "10001"),
    "REPLICATION": (*WHOLE, "0", "10"),
    "CONSUMER_GROUP": ("a" * 256,),
    "OPA_URL": (*URL, "Embedded", "opa:8181", "http://opa?hunter2", "http://opa#hunter2"),
    "JWT_JWKS": (*URL, "file:///hunter2"),
    "JWT_JWKS_PROXY": (*URL, "proxy:3128", "http://proxy?hunter2"),
    "RATE_LIMITS": ("600/minute", "[]", "{}", "{", '{"read": 5}', '{"raed": "hunter2"}', "null", "'{}'"),
    "DEADLETTER_MAX_RATIO": ("nan", "inf", "1e-1", "50%", ".5", "0,5", "-0.1", "1.1", "\N{FULLWIDTH DIGIT ZERO}.5"),
    "INGRESS": ("hunter2", "{}", "[1]", '["a"]', '[{"topic": "a b"}]', '[{"topic": ".."}]', "[{}]", "null", "[]]"),
    "HTTP_FORMATS": ("hunter2", "{}", "[1]", '["a"]', '[{"format": "cloudevents"}]', "[{}]", "null", "[]]"),
    "API_HOST": ("*", "http://hunter2", "hunter2:80", "[::]", "300.1.1.1", "1.2.3", "hunter 2", "a,b", "0.0.0.0/0"),
    "API_PORT": PORT,
    "WORKER_METRICS_PORT": PORT,
    "CONSOLE_OIDC_ISSUER": (
        *URL, "issuer.test", "http://hunter2", "http://10.0.0.1", "https://hunter2@issuer.test", "https://issuer.test?x",
        "https://issuer.test#x",
    ),
    "CONSOLE_OIDC_CLIENT_ID": ("a" * 257,),
    "LOG_LEVEL": ("hunter2", "warn", "20"),
    "LOG_FORMAT": ("xml", "JSON,console"),
}  # fmt: skip
UNMEANT = (
    " ",
    "\t",
    "\n",
    "{}\n",
    "\n{}",
    "{} ",
    " {}",
    "{}\r\n",
    "'{}'",
    '"{}"',
    "“{}”",
    "{}\x01",
    "{}\u200b",
    "\ufeff{}",
)
PLACEHOLDERS = ("${{SLEEP}}", "$(SLEEP)", "{{{{ sleep }}}}", "$SLEEP")
# As jq, JavaScript, Python, Go and Helm write a value that they do not have.
ABSENT = ("null", "undefined", "None", "<nil>", "<no value>")
NOT_UTF_8 = "{}\udcff"
PASSWORDS = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_PASSWORD")


def _refused_by_name(name: str, value: str) -> None:
    message = refusal(**REQUIRED | {name: value})
    assert message.startswith(f"SLEEP_{name}: "), message
    assert message.endswith(f"(example: {GOOD[name.lower()]})"), message
    assert "hunter2" not in message
    assert "\n" not in message


@pytest.mark.parametrize("name", BAD)
def test_a_value_of_the_wrong_form_is_refused_by_name(name: str) -> None:
    """The line says what is wrong and shows a right value."""
    for value in BAD[name]:
        _refused_by_name(name, value)


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_that_nobody_can_mean_is_refused_whatever_the_setting(field: str) -> None:
    """Quotation marks, line breaks, blanks, invisible characters, other bytes than UTF-8, and what nothing expanded."""
    name = field.upper()
    # Blanks around JSON mean nothing, and a password may look like a placeholder.
    forms = () if name in JSON else UNMEANT if name in PASSWORDS else (*UNMEANT, *PLACEHOLDERS, *ABSENT)
    for form in (*forms, NOT_UTF_8):
        _refused_by_name(name, form.format(GOOD[field]))


@pytest.mark.parametrize("field", FIELDS)
def test_an_empty_variable_is_an_unset_one(field: str) -> None:
    """Compose writes one for `${X:-}`."""
    name, info = field.upper(), Settings.model_fields[field]
    if info.is_required():
        assert refusal(**REQUIRED | {name: ""}).startswith(f"SLEEP_{name}: required, but missing (example: ")
    else:
        assert getattr(loaded(**REQUIRED | {name: ""}), field) == info.default


@pytest.mark.parametrize("field", FIELDS)
def test_the_example_of_a_setting_is_a_right_value(field: str) -> None:
    """It is what a refusal tells people to write; files and partners aside, which this machine lacks."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (REQUIRED | {field.upper(): GOOD[field]}).items():
            environment.setenv(f"SLEEP_{name}", value)
        assert getattr(Settings(), field) is not None


@pytest.mark.parametrize(
    "value", ["a:1,b:2", "a:1, b:2", "[::1]:9092", "10.0.0.1:9092", "kafka_1.x.y.:9092", "k:65535"]
)
def test_brokers_may_have_names_addresses_and_blanks_between(value: str) -> None:
    """Whatever the client can connect to."""
    assert loaded(**REQUIRED | {"KAFKA_BOOTSTRAP": value}).kafka_bootstrap == value.replace(" ", "")


@pytest.mark.parametrize(
    "value",
    [
        "redis://r", "redis://r:6379/15", "redis://me:p%40ss@r/0", "redis://[::1]:6379", "redis+cluster://r:1/0",
        "redis://r?db=3&client_name=sleep&health_check_interval=5&socket_keepalive=true",
        "rediss://r?ssl_cert_reqs=none&ssl_check_hostname=false",
    ],
)  # fmt: skip
def test_a_redis_url_may_have_options_that_are_known(value: str) -> None:
    """Timeouts and retries are this project's own."""
    assert loaded(**REQUIRED | {"REDIS_URL": value}).redis_url.get_secret_value() == value


@pytest.mark.parametrize("value", ['"a\'b$c"d', "p ä ss", "'", "${x}"])
def test_a_password_may_hold_what_no_other_value_may(value: str) -> None:
    """Only both ends in quotation marks, and white space at an end, are taken for a mistake."""
    user = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "sleep"}
    settings = loaded(**REQUIRED, **user, KAFKA_SASL_PASSWORD=value)
    assert settings.kafka_sasl_password is not None
    assert settings.kafka_sasl_password.get_secret_value() == value


@pytest.mark.parametrize("name", ["API_PORT", "WORKER_METRICS_PORT"])
@pytest.mark.parametrize("value", ["tcp://10.96.0.17:8080", "udp://10.96.0.17:53", "tcp://[fd00::1]:8080"])
def test_a_service_link_is_not_a_setting(name: str, value: str) -> None:
    """A Service called `sleep-api` has Kubernetes write one."""
    assert getattr(loaded(**REQUIRED | {name: value}), name.lower()) == Settings.model_fields[name.lower()].default


LINKS = {
    "SLEEP_API_PORT": "tcp://10.96.0.17:8080",
    "SLEEP_API_PORT_8080_TCP": "tcp://10.96.0.17:8080",
    "SLEEP_API_PORT_8080_TCP_ADDR": "10.96.0.17",
    "SLEEP_API_PORT_8080_TCP_PORT": "8080",
    "SLEEP_API_PORT_8080_TCP_PROTO": "tcp",
    "SLEEP_API_SERVICE_HOST": "10.96.0.17",
    "SLEEP_API_SERVICE_PORT": "8080",
    "SLEEP_API_SERVICE_PORT_HTTP": "8080",
    "SLEEP_PORT": "tcp://10.96.0.18:80",
    "SLEEP_SERVICE_HOST": "10.96.0.18",
    "SLEEP_API_NAME": "/web/sleep-api",
    "SLEEP_API_ENV_LANG": "C",
}


def test_all_forms_of_service_links_are_known_and_told_in_one_line() -> None:
    """Those of Kubernetes, and of Docker's `--link`."""
    assert all(is_service_link(name, value) for name, value in LINKS.items())
    warning = ignored_links(LINKS | {"PATH": "/bin", "SLEEP_URL": "http://x"})
    assert warning is not None
    assert warning.endswith(", ".join(sorted(LINKS)))
    assert list(unknown(LINKS, ["SLEEP_API_PORT"])) == []
    assert ignored_links({"SLEEP_API_PORT": "8080"}) is None


def test_no_setting_is_taken_for_a_service_link() -> None:
    """Whatever its right values are."""
    assert not [field for field in FIELDS if is_service_link(f"SLEEP_{field.upper()}", GOOD[field])]


def test_an_unknown_variable_is_told_with_the_one_that_is_meant() -> None:
    """An empty one is unset, those of the client and of the tests are known."""
    given = {"SLEEP_REDIS_PREFX": "x", "SLEEP_EMPTY": "", "SLEEP_URL": "x", "SLEEP_TEST_X": "x", "OTHER": "x"}
    assert list(unknown(given, ["SLEEP_REDIS_PREFIX"])) == [("SLEEP_REDIS_PREFX", "SLEEP_REDIS_PREFIX")]


def test_the_ports_alone_are_read_as_a_part_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sleepctl run` needs no other one."""
    monkeypatch.setenv("SLEEP_API_PORT", "tcp://10.96.0.17:8080")
    monkeypatch.setenv("SLEEP_WORKER_METRICS_PORT", "9")
    ports = load_ports()
    assert (ports.api_port, ports.worker_metrics_port) == (8080, 9)
    monkeypatch.setenv("SLEEP_API_PORT", "x")
    with pytest.raises(SettingsError, match=r"^SLEEP_API_PORT: "):
        load_ports()


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    """Python reads them as unpaired surrogates."""
    assert flaw(b"gr\xf6\xdfe".decode(errors="surrogateescape")) is not None
    assert flaw("größe") is None


def test_a_jwks_file_is_looked_at_by_who_needs_it() -> None:
    """The API; a worker may have the variable without the file."""
    with pytest.raises(SettingsError, match=r"^SLEEP_JWT_JWKS: the file cannot be read: No such file or directory$"):
        loaded(**REQUIRED, JWT_JWKS="/nowhere/jwks.json").require_keys()
    loaded(**REQUIRED, JWT_JWKS="https://issuer.example/jwks.json").require_keys()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("given", [{"KAFKA_SECURITY_PROTOCOL": "SSL"}, {"REDIS_URL": "rediss://r"}])
def test_authorities_of_the_environment_that_are_not_there_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, str]
) -> None:
    """Only where TLS is spoken."""
    monkeypatch.setenv(name, "/nonexistent")
    loaded(**REQUIRED)
    assert refusal(**REQUIRED | given).startswith(f"{name}: ")


def test_session_keys_are_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE names a file that Python would open for each context."""
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/keys")
    context = loaded(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL").kafka_ssl_context()
    assert context is not None
    assert context.keylog_filename is None
