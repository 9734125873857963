"""Hosts, as `Host` and the authority of a target name them (RFC 3986, sections 3.2.2 and 3.2.3; RFC 9110, 7.2)."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

from schemas.http.percent import encoding_fault

# A name has no comma: what has one is a list of hosts for some readers.
_NAME: Final = rb"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+"
_FUTURE: Final = rb"\[[Vv][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\]"
_HOST: Final = re.compile(rb"(?:(%b|%b)|\[([0-9A-Fa-f:.]+)\])(?::(0*[0-9]{0,5}))?" % (_NAME, _FUTURE))
_HIGHEST_PORT: Final = 65_535
_PORT_OF: Final = {b"http": 80, b"https": 443}


class Host(NamedTuple):
    """A host and its port, in the form in which equal ones are the same; `port` is None where it is not said."""

    name: bytes
    port: int | None

    def on(self, scheme: bytes) -> "Host":
        """Return it with the port that the scheme has by default, where it says none."""
        return self._replace(port=_PORT_OF[scheme]) if self.port is None else self


def host_of(text: bytes) -> Host | None:
    """Return what a text names, None where it is no host with an optional port, or an empty one."""
    parts = _HOST.fullmatch(text)
    if parts is None:
        return None
    name, address, digits = parts.groups()
    port = int(digits) if digits else None
    if port is not None and port > _HIGHEST_PORT:
        return None
    if address is not None:
        try:
            return Host(IPv6Address(address.decode()).packed, port)
        except AddressValueError:
            return None
    return Host(name.lower(), port) if encoding_fault(name) is None else None
