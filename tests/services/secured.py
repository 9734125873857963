"""A Kafka and a Redis that let in only who has an identity: TLS, users, and the rules of `deploy/access`."""

import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.base import ServiceError
from tests.services.broker_config import HEAP_OPTIONS, as_properties, broker_config, jvm_options
from tests.services.jars import kafka_version, maven_jars
from tests.services.probe import LOOPBACK, PROBE_SECONDS, free_port, redis_answers
from tests.services.processes import CLUSTER_ID, ProcessService, available_jars, find

MECHANISM: Final = "SCRAM-SHA-512"
ADMIN: Final = "admin"
BROKER: Final = "broker"
PRINCIPAL_RULE: Final = "RULE:^CN=([A-Za-z0-9._-]+)(,.*)?$/$1/"
"""Makes the name of a user from the subject of a certificate; `docs/how-to/secure-kafka-and-redis.md` has it too."""
_TOOLS: Final = Path(__file__).with_name("kafka_tools") / "pom.xml"
_TOOL_SECONDS: Final = 120


class SecuredKafka(ProcessService):
    """A broker with its authoriser on: one port for users with passwords, one for certificates, both with TLS.

    Args:
        folder: for its data.
        certificates: has `authority.crt`, and `broker.crt` with its key.
        users: the passwords of its users; `admin` is a super user.
    """

    def __init__(self, folder: Path, certificates: Path, users: Mapping[str, str]) -> None:
        port, tls_port = free_port(), free_port()
        super().__init__("Kafka", f"{LOOPBACK}:{port}", folder / "kafka")
        self.tls_address = f"{LOOPBACK}:{tls_port}"
        self._authority, self._users = certificates / "authority.crt", users
        self._jars = available_jars()
        self._java = [find("java", "default-jre-headless"), *HEAP_OPTIONS, *jvm_options(), "-Dlog4j2.level=WARN"]
        chain = self.folder / "broker.pem"
        chain.write_bytes((certificates / "broker.key").read_bytes() + (certificates / "broker.crt").read_bytes())
        controller = f"{LOOPBACK}:{free_port()}"
        config = broker_config(
            listen=self.address, advertised=self.address, controller=controller, log_dir=str(self.folder / "data")
        )
        listeners = f"SASL_SSL://{self.address},SSL://{self.tls_address}"
        self._properties = self.folder / "server.properties"
        self._properties.write_text(
            as_properties(
                config
                | {
                    "listeners": f"{listeners},CONTROLLER://{controller}",
                    "advertised.listeners": listeners,
                    "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
                    "inter.broker.listener.name": "SSL",
                    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    "super.users": f"User:{ADMIN};User:{BROKER}",
                    "ssl.keystore.type": "PEM",
                    "ssl.keystore.location": str(chain),
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": str(self._authority),
                    "ssl.client.auth": "required",
                    "ssl.principal.mapping.rules": f"{PRINCIPAL_RULE},DEFAULT",
                    "sasl.enabled.mechanisms": MECHANISM,
                    f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": (
                        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                    ),
                }
            )
        )

    def _run(self, classpath: str, *command: str) -> str:
        done = subprocess.run(
            [*self._java, "-cp", classpath, *command],
            capture_output=True,
            text=True,
            timeout=_TOOL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def launch(self) -> None:
        if not (self.folder / "data").exists():
            users = [f"--add-scram={MECHANISM}=[name={name},password={word}]" for name, word in self._users.items()]
            tool = ("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(self._properties))
            self._run(f"{self._jars}/*", *tool, *users)
        super().launch()

    def command(self) -> Sequence[str]:
        return [*self._java, "-cp", f"{self._jars}/*", "kafka.Kafka", str(self._properties)]

    def client(self, user: str, **more: str) -> dict[str, Any]:
        """Return how a client of librdkafka connects as a user."""
        return {
            "bootstrap.servers": self.address,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self._users[user],
            "ssl.ca.location": str(self._authority),
            "log_level": 0,
            **more,
        }

    def answers(self) -> bool:
        client = AdminClient(self.client(ADMIN))
        try:
            return bool(client.list_topics(timeout=5 * PROBE_SECONDS).brokers)
        except KafkaException:
            return False

    def allow(self, rules: Iterable[str]) -> None:
        """Add ACLs with Kafka's own tool: each rule has the options of one call. Two calls run at a time."""
        login = f'username="{ADMIN}" password="{self._users[ADMIN]}"'
        file = self.folder / "admin.properties"
        file.write_text(
            as_properties(
                {
                    "security.protocol": "SASL_SSL",
                    "sasl.mechanism": MECHANISM,
                    "sasl.jaas.config": f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};",
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": str(self._authority),
                }
            )
        )
        version = kafka_version()
        goals = (f"-Dkafka.version={version}", "dependency:copy-dependencies")
        classpath = f"{maven_jars(_TOOLS, f'kafka-tools-{version}', goals)}/*:{self._jars}/*"
        tool = ("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.address, "--command-config", str(file))
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda rule: self._run(classpath, *tool, "--add", *rule.split()), rules))


class SecuredRedis(ProcessService):
    """A Redis that speaks TLS alone, wants a certificate of each client, and has the users of a file.

    Args:
        folder: for its data.
        certificates: has `authority.crt`, and `redis.crt` and `client.crt` with their keys.
        users: the text of its file of users; the hashes of passwords stand as SHA256_OF_NAME_PASSWORD.
        passwords: by the last part of a user's name, such as `worker`.
    """

    def __init__(self, folder: Path, certificates: Path, users: str, passwords: Mapping[str, str]) -> None:
        self._port = free_port()
        self._passwords, self._certificates = passwords, certificates
        super().__init__("Redis", self._url("worker"), folder / "redis")
        self._program = find("redis-server", "redis-server")
        for name, word in passwords.items():
            users = users.replace(f"SHA256_OF_{name.upper()}_PASSWORD", sha256(word.encode()).hexdigest())
        (self.folder / "users.acl").write_text(users)

    def _url(self, name: str) -> str:
        files = self._certificates
        options = {
            "ssl_ca_certs": files / "authority.crt",
            "ssl_certfile": files / "client.crt",
            "ssl_keyfile": files / "client.key",
        }
        query = "&".join(f"{option}={file}" for option, file in options.items())
        return f"rediss://sleep-{name}:{self._passwords[name]}@{LOOPBACK}:{self._port}/0?{query}"

    def url(self, name: str) -> str:
        """Return the address with a user's name and password."""
        return self._url(name)

    def command(self) -> Sequence[str]:
        files = self._certificates
        options = {
            "bind": LOOPBACK,
            "port": "0",
            "tls-port": str(self._port),
            "tls-cert-file": str(files / "redis.crt"),
            "tls-key-file": str(files / "redis.key"),
            "tls-ca-cert-file": str(files / "authority.crt"),
            "tls-auth-clients": "yes",
            "aclfile": str(self.folder / "users.acl"),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [self._program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def answers(self) -> bool:
        try:
            # redis-py leaves the socket of a refused TLS connection open.
            socket.create_connection((LOOPBACK, self._port), PROBE_SECONDS).close()
        except OSError:
            return False
        return redis_answers(self.address)
