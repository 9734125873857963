"""TLS contexts for clients: the trusted authorities and their files.

Of the environment only `SSL_CERT_FILE` and `SSL_CERT_DIR` are used, as in OpenSSL and in most clients. `SSLKEYLOGFILE`
is ignored: it would write the keys of every connection to a file.
"""

import os
import ssl
from pathlib import Path
from typing import Final

from schemas.environment import SettingsError

CERT_FILE: Final = "SSL_CERT_FILE"
CERT_DIR: Final = "SSL_CERT_DIR"


class CertificateError(SettingsError, OSError):
    """A certificate or key cannot be loaded.

    It is an OSError too. A running process that loses its files retries, as it does when the broker is unavailable.

    Attributes:
        variables: the settings that name the file; several if their files do not match.
        reason: why it cannot be loaded.
    """

    def __init__(self, variables: tuple[str, ...], reason: str) -> None:
        super().__init__(f"{', '.join(variables)}: {reason}")
        self.variables = variables
        self.reason = reason


def require_readable(variable: str, path: str) -> None:
    """Require that a file can be read.

    Raises:
        CertificateError: naming the variable that names the file.
    """
    try:
        Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path is not valid"
        raise CertificateError((variable,), f"the file cannot be read: {reason}") from None


def client_context(cafile: tuple[str, str] | None = None, fallback: str | None = None) -> ssl.SSLContext:
    """Return a context that checks certificates and host names.

    Args:
        cafile: the variable that names a file of authorities, and the file; then the environment is ignored.
        fallback: a file of authorities to trust if the environment names none; None trusts the system's.

    Raises:
        CertificateError: if a file or folder of authorities cannot be used.
    """
    # `ssl.create_default_context` would open the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folder = os.environ.get(CERT_FILE), os.environ.get(CERT_DIR)
    if cafile is not None:
        _load(context, *cafile)
    elif file or folder:
        if file:
            _load(context, CERT_FILE, file)
        if folder:
            _load_folder(context, folder)
    elif fallback is not None:
        context.load_verify_locations(cafile=fallback)
    else:
        context.load_default_certs()
    return context


def load_identity(
    context: ssl.SSLContext, variables: tuple[str, ...], certfile: str, keyfile: str | None, password: str = ""
) -> None:
    """Load the certificate and the key of a client.

    Raises:
        CertificateError: naming the variables.
    """
    try:
        # Without a password, the library would prompt for that of a locked key.
        context.load_cert_chain(certfile, keyfile, password)
    except (ssl.SSLError, ValueError):
        raise CertificateError(
            variables, "certificate and key (PEM) do not fit each other, or the password does not open the key"
        ) from None


def context_for(url: str, fallback: str) -> ssl.SSLContext:
    """Return a context for the requests to one server; see `client_context`.

    A server without TLS needs no authorities, so wrong ones do not matter: its context trusts no authority.

    Raises:
        CertificateError: if a file or folder of authorities is needed and cannot be used.
    """
    if url.lower().startswith("https://"):
        return client_context(fallback=fallback)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _load(context: ssl.SSLContext, variable: str, path: str) -> None:
    require_readable(variable, path)  # The library's own error names no file.
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise CertificateError((variable,), "the file holds no certificates (PEM)") from None


def _load_folder(context: ssl.SSLContext, folder: str) -> None:
    """Trust a folder of certificates under hashed names, or several with colons between, as OpenSSL reads it."""
    folders = [path for path in folder.split(os.pathsep) if path]
    if not any(os.access(path, os.R_OK | os.X_OK) and Path(path).is_dir() for path in folders):
        raise CertificateError((CERT_DIR,), "there is no such folder, or it cannot be read")
    context.load_verify_locations(capath=folder)
