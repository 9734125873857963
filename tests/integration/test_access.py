"""`deploy/access`: each identity can do its work on a Kafka and a Redis that ask for one, and nothing else."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sleepctl.io.signing_keys import SigningKey, TokenClaims
from tests.services import UnavailableError
from tests.services.probe import LOOPBACK, free_port
from tests.services.secured import ADMIN, SecuredKafka, SecuredRedis
from tests.services.skips import pass_over
from tests.support.authority import Authority
from tests.support.command import PROGRAM, call
from tests.support.installation import AUDIENCE, ISSUER, Process

# A broker of its own, and Kafka's tool for each line of the ACLs.
pytestmark = [pytest.mark.once, pytest.mark.timeout(900)]

ACCESS: Final = Path(__file__).resolve().parents[2] / "deploy" / "access"
RULES: Final = [
    line for line in (ACCESS / "kafka-acls.txt").read_text(encoding="utf-8").splitlines() if line.startswith("--")
]
TOPICS: Final = [f"sleep.{name}" for name in ("events", "states", "transitions", "breakers", "deadletter")]
PARTS: Final = ("worker", "api", "emitter", "topics", "operator", "reader")
SECONDS: Final = 120.0
DENIED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    # What a user may not describe does not exist for the user.
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library has no other name for it
}


class Secured(NamedTuple):
    """The services, and how each part connects."""

    kafka: SecuredKafka
    redis: SecuredRedis
    folder: Path

    def environment(self, part: str, redis_user: str | None = None) -> dict[str, str]:
        """Return the settings of a part that has a password for Kafka."""
        # Settings need an address of Redis. A part without a user there does not connect to it.
        url = f"rediss://{LOOPBACK}" if redis_user is None else self.redis.url(redis_user)
        return {
            "SLEEP_KAFKA_BOOTSTRAP": self.kafka.address,
            "SLEEP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "SLEEP_KAFKA_SASL_USERNAME": f"sleep-{part}",
            "SLEEP_KAFKA_SASL_PASSWORD": f"{part}-word",
            "SLEEP_KAFKA_SSL_CAFILE": str(self.folder / "authority.crt"),
            "SLEEP_REDIS_URL": url,
            "SLEEP_PARTITIONS": "2",
        }

    def certified(self, part: str, redis_user: str) -> dict[str, str]:
        """Return the settings of a part that has a certificate for Kafka."""
        sasl = {"SLEEP_KAFKA_SASL_USERNAME", "SLEEP_KAFKA_SASL_PASSWORD"}
        environment = self.environment(part, redis_user).items()
        return {name: value for name, value in environment if name not in sasl} | {
            "SLEEP_KAFKA_BOOTSTRAP": self.kafka.tls_address,
            "SLEEP_KAFKA_SECURITY_PROTOCOL": "SSL",
            "SLEEP_KAFKA_SSL_CERTFILE": str(self.folder / f"{part}.crt"),
            "SLEEP_KAFKA_SSL_KEYFILE": str(self.folder / f"{part}.key"),
        }

    def run(self, part: str, *command: str, redis_user: str | None = None) -> str:
        """Return what a command of `sleepctl` prints, run as a part; fails if it fails."""
        done = call(*command, folder=self.folder, environment=self.environment(part, redis_user), seconds=SECONDS)
        assert done.returncode == 0, f"sleepctl {' '.join(command)} as {part}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Both services with the files of `deploy/access`, and the topics."""
    folder = tmp_path_factory.mktemp("access")
    authority = Authority(folder)
    for name in ("broker", "redis"):
        authority.issue(name, name, addresses=[LOOPBACK])
    for name in ("client", "api", "stranger"):
        authority.issue(name, f"sleep-{name}")
    passwords = {part: f"{part}-word" for part in ("worker", "api", "operator", "replica")}
    users = {f"sleep-{part}": f"{part}-word" for part in PARTS} | {ADMIN: "admin-word"}
    try:
        kafka = SecuredKafka(folder, folder, users)
        store = SecuredRedis(folder, folder, (ACCESS / "redis-users.acl").read_text(encoding="utf-8"), passwords)
    except UnavailableError as error:
        pass_over(f"needs a Kafka and a Redis with TLS: {error}")
    with closing(kafka), closing(store):
        kafka.launch()
        store.launch()
        store.wait_ready()
        kafka.wait_ready(180)
        kafka.allow(RULES)
        secured = Secured(kafka, store, folder)
        secured.run("topics", "topics", "create")
        yield secured


class Api(NamedTuple):
    """A running API, and the key that it trusts."""

    url: str
    key: SigningKey

    def request(self, method: str, path: str, scope: str = "sleep:operate", **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Return the answer to a request with a token of tenant `acme`."""
        token = self.key.token(TokenClaims(ISSUER, AUDIENCE, "ops@acme", scope, "acme", 3600))
        return httpx.request(
            method, f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30, **options
        )


@pytest.fixture(scope="module")
def api(secured: Secured) -> Iterator[Api]:
    """A worker with a password, and an API with a certificate, once both are well."""
    key = SigningKey.generate()
    (secured.folder / "jwks.json").write_bytes(key.jwks())
    ports = {"SLEEP_API_PORT": str(free_port()), "SLEEP_WORKER_METRICS_PORT": str(free_port())}
    tokens = {
        "SLEEP_JWT_JWKS": str(secured.folder / "jwks.json"),
        "SLEEP_JWT_ISSUER": ISSUER,
        "SLEEP_JWT_AUDIENCE": AUDIENCE,
    }
    environments = {"worker": secured.environment("worker", "worker"), "api": secured.certified("api", "api") | tokens}
    processes = [
        Process(name, environment | ports, secured.folder / f"{name}.log", [PROGRAM, name])
        for name, environment in environments.items()
    ]
    try:
        until_well(secured, processes[0], ports["SLEEP_WORKER_METRICS_PORT"])
        until_well(secured, processes[1], ports["SLEEP_API_PORT"])
        yield Api(f"http://{LOOPBACK}:{ports['SLEEP_API_PORT']}", key)
    finally:
        for process in processes:
            process.stop()


def until_well(secured: Secured, process: Process, port: str) -> None:
    """Wait until a process serves and has no finding, or say what it logged."""
    deadline = time.monotonic() + SECONDS
    status = ""
    while time.monotonic() < deadline and process.running:
        try:
            answer = httpx.get(f"http://{LOOPBACK}:{port}/status", timeout=5)
        except httpx.TransportError:
            continue
        finally:
            time.sleep(0.2)
        if answer.status_code == httpx.codes.OK:
            return
        status = answer.text
    log = (secured.folder / f"{process.name}.log").read_text(encoding="utf-8")
    raise AssertionError(f"the {process.name} is not well: {status}\n{log}")


def state_of(api: Api) -> str:
    """Return the state of tenant `acme`."""
    return str(api.request("GET", "/api/brain/sleep_mode").raise_for_status().json()["state"])


def test_each_program_works_with_its_own_identity(secured: Secured, api: Api) -> None:
    """From an emitter to the state, a command with its answer, and every page that reads Kafka or Redis."""
    secured.run("emitter", "send", "breaker", "open", "--tenant", "acme", "--name", "db", "--instance", "pod-1")
    deadline = time.monotonic() + SECONDS
    while state_of(api) == "active":
        assert time.monotonic() < deadline, (secured.folder / "worker.log").read_text(encoding="utf-8")
        time.sleep(0.2)
    sleep = {"target_state": "freeze", "ttl_seconds": 60}
    answer = api.request("POST", "/api/util/sleep", "sleep:write", json=sleep)
    assert (answer.status_code, answer.json()["state"]) == (200, "freeze")
    pages = ("audit", "deadletters", "partitions", "history", "tenants", "permissions")
    answers = {page: api.request("GET", f"/api/{page}") for page in pages}
    assert {page: answer.status_code for page, answer in answers.items()} == dict.fromkeys(pages, 200)
    assert {part["owner"] is not None for part in answers["partitions"].json()["partitions"]} == {True}
    assert answers["audit"].json()["rows"]
    with httpx.Client(base_url=api.url, timeout=30) as client:
        token = api.key.token(TokenClaims(ISSUER, AUDIENCE, "ops@acme", "sleep:operate", "acme", 3600))
        with client.stream("GET", "/api/states/events", headers={"Authorization": f"Bearer {token}"}) as stream:
            assert stream.status_code == 200
            assert "event: ready" in iter_until(stream, "event: ready")


def iter_until(stream: httpx.Response, text: str) -> list[str]:
    """Return the lines of a stream, up to one with this text."""
    lines: list[str] = []
    for line in stream.iter_lines():
        lines.append(line)
        if text in line:
            break
    return lines


def test_the_job_of_the_topics_finds_nothing_wrong(secured: Secured) -> None:
    """And has nothing left to create."""
    secured.run("topics", "topics", "check")


def test_an_operator_can_use_every_command_that_reads_the_log(secured: Secured, api: Api) -> None:
    """Rules are published through the log too."""
    assert api.url
    for command in (
        ("verify",),
        ("replay",),
        ("deadletters", "list"),
        ("rules", "apply", "--dry-run", str(rules_file(secured.folder))),
        ("rules", "apply", str(rules_file(secured.folder))),
    ):
        secured.run("operator", *command, redis_user="operator")


def rules_file(folder: Path) -> Path:
    """Return a file with the rules that are built in."""
    file = folder / "rules.json"
    file.write_text('{"policy": {}}')
    return file


def produced(secured: Secured, user: str, topic: str) -> int | None:
    """Try to append a record as a user, and return the code of the error; None if it was appended."""
    errors: list[int | None] = []
    producer = Producer(secured.kafka.client(user, **{"message.timeout.ms": "60000"}))
    producer.produce(topic, b"{}", on_delivery=lambda error, _: errors.append(None if error is None else error.code()))
    producer.flush(70)
    return errors[0]


def read(secured: Secured, user: str, topic: str) -> int | None:
    """Try to read a topic as a user, and return the code of the error; None if that is allowed."""
    consumer = Consumer(secured.kafka.client(user, **{"group.id": "stranger", "enable.partition.eof": "true"}))
    try:
        # The library tells nobody that it may not see a topic that it is to fetch.
        if (hidden := consumer.list_topics(topic, timeout=60).topics[topic].error) is not None:
            return int(hidden.code())
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            message = consumer.poll(60)
            assert message is not None, f"no answer about {topic} in 60 s"
            error = message.error()
            code = None if error is None else error.code()
            # The library looks for the coordinator of its group as well, which is not what is asked here.
            if code != KafkaError.GROUP_AUTHORIZATION_FAILED:
                return None if code == KafkaError._PARTITION_EOF else code  # noqa: SLF001 - as above
    finally:
        consumer.close()


def created(secured: Secured, user: str) -> int | None:
    """Try to create a topic as a user, and return the code of the error; None if it was created."""
    # It ends what it waits for when nothing refers to it.
    client = AdminClient(secured.kafka.client(user))
    [made] = client.create_topics([NewTopic("other", 1, 1)]).values()
    try:
        made.result(60)
    except KafkaException as error:
        return int(error.args[0].code())
    return None


WRITERS: Final = {
    "sleep-worker": {"sleep.events", "sleep.states", "sleep.transitions", "sleep.deadletter"},
    "sleep-api": {"sleep.events"},
    "sleep-emitter": {"sleep.breakers"},
    "sleep-topics": set[str](),
    "sleep-reader": set[str](),
}
READERS: Final = {
    "sleep-worker": {"sleep.events", "sleep.states", "sleep.breakers"},
    "sleep-api": {"sleep.states", "sleep.transitions", "sleep.deadletter"},
    "sleep-emitter": set[str](),
    "sleep-topics": set[str](),
    "sleep-reader": set[str](),
}


@pytest.mark.parametrize("user", WRITERS)
def test_no_identity_can_do_more_on_kafka(secured: Secured, user: str) -> None:
    """An emitter writes breaker events and nothing else, and a reader does nothing at all."""
    for topic in TOPICS:
        # Bytes in the log of a running worker are only tried where they must be refused.
        if topic not in WRITERS[user]:
            assert produced(secured, user, topic) in DENIED, topic
        assert (read(secured, user, topic) in DENIED) is (topic not in READERS[user]), topic
    assert created(secured, user) in DENIED


def test_a_reader_does_not_even_see_the_topics(secured: Secured) -> None:
    """An emitter sees its own."""
    for user, seen in (("sleep-reader", set()), ("sleep-emitter", {"sleep.breakers"})):
        assert set(AdminClient(secured.kafka.client(user)).list_topics(timeout=60).topics) == seen


REFUSED: Final = {
    "worker": ("FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST", "DEL {sleep:0}:tenants", "GET other", "PUBLISH x y"),
    "api": (
        *("FLUSHALL", "KEYS *", "CONFIG GET *", "HSET {sleep:0}:tenants acme x", "DEL {sleep:0}:tenants"),
        *("SET {sleep:0}:progress x", "UNLINK {sleep:0}:timers", "PUBLISH sleep:reply:x y", "SUBSCRIBE other"),
        "EVAL return(redis.call('HSET',KEYS[1],'acme','x')) 1 {sleep:0}:tenants",
    ),
    "operator": ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "PUBLISH sleep:reply:x y"),
    "replica": ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET {sleep:0}:tenants", "REPLICAOF NO ONE", "INFO"),
}


@pytest.mark.parametrize(("name", "command"), [(name, command) for name in REFUSED for command in REFUSED[name]])
def test_no_user_can_do_more_on_redis(secured: Secured, name: str, command: str) -> None:
    """Least of all the API, which never writes a tenant's record."""
    refused = pytest.raises(redis.ResponseError, match=r"permission|can't run this command")
    with redis.Redis.from_url(secured.redis.url(name)) as client, refused:
        client.execute_command(*command.split())


def test_redis_wants_a_certificate_and_a_user(secured: Secured) -> None:
    """The default user is off."""
    url = secured.redis.url("worker")
    for refused, error in (
        (url.partition("&ssl_certfile")[0], redis.ConnectionError),
        (url.replace("sleep-worker:worker-word@", ""), redis.AuthenticationError),
        (url.replace("worker-word", "other-word"), redis.AuthenticationError),
    ):
        with redis.Redis.from_url(refused) as client, pytest.raises(error):
            client.ping()
