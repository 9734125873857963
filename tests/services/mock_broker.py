"""A process that holds librdkafka's mock cluster of one broker: it prints its address, then does what it is told.

Each line of its standard input is a command, answered with `ok` or with what went wrong: `topic NAME PARTITIONS`
makes a topic, `down` takes the broker from the network, `up` brings it back at the same address with its records.
It ends with its standard input. librdkafka's C interface is called, since its Python client offers none of this.
"""

import ctypes
import sys

from confluent_kafka import cimpl

_PRODUCER = 0
_BROKER = 1
_ERROR_BYTES = 512


class MockCluster:
    """librdkafka's mock cluster, by the functions of its header `rdkafka_mock.h`."""

    def __init__(self) -> None:
        # The extension is linked against librdkafka: what it is linked against is found through it.
        library = ctypes.CDLL(cimpl.__file__)
        handle, text = ctypes.c_void_p, ctypes.c_char_p
        library.rd_kafka_conf_new.restype = handle
        library.rd_kafka_conf_set.argtypes = [handle, text, text, text, ctypes.c_size_t]
        library.rd_kafka_new.restype = handle
        library.rd_kafka_new.argtypes = [ctypes.c_int, handle, text, ctypes.c_size_t]
        library.rd_kafka_mock_cluster_new.restype = handle
        library.rd_kafka_mock_cluster_new.argtypes = [handle, ctypes.c_int]
        library.rd_kafka_mock_cluster_bootstraps.restype = text
        library.rd_kafka_mock_cluster_bootstraps.argtypes = [handle]
        library.rd_kafka_mock_topic_create.argtypes = [handle, text, ctypes.c_int, ctypes.c_int]
        library.rd_kafka_mock_broker_set_down.argtypes = [handle, ctypes.c_int32]
        library.rd_kafka_mock_broker_set_up.argtypes = [handle, ctypes.c_int32]
        library.rd_kafka_err2str.restype = text
        self._library = library
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        config = library.rd_kafka_conf_new()
        # It would say that nobody told it of any broker.
        library.rd_kafka_conf_set(config, b"log_level", b"0", error, _ERROR_BYTES)
        owner = library.rd_kafka_new(_PRODUCER, config, error, _ERROR_BYTES)
        if not owner:
            raise OSError(f"librdkafka makes no mock cluster: {error.value.decode()}")
        self._cluster = library.rd_kafka_mock_cluster_new(owner, 1)

    @property
    def address(self) -> str:
        """Where the broker is, `host:port`."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def obey(self, command: str) -> str:
        """Do what a command says, and return the answer."""
        match command.split():
            case ["topic", name, partitions]:
                code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), int(partitions), 1)
            case ["down"]:
                code = self._library.rd_kafka_mock_broker_set_down(self._cluster, _BROKER)
            case ["up"]:
                code = self._library.rd_kafka_mock_broker_set_up(self._cluster, _BROKER)
            case _:
                return f"unknown command {command!r}"
        return "ok" if code == 0 else str(self._library.rd_kafka_err2str(code).decode())


def main() -> None:
    """Hold one mock broker until standard input ends."""
    cluster = MockCluster()
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(f"{cluster.obey(line)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
