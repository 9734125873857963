"""What a caller gives is checked at the start, and no error shows a secret."""

import ssl
from pathlib import Path

import pytest

from sleep_client.runtime.address import check_token, read_url, tls_context


@pytest.mark.parametrize("url", ["https://sleep.example", "http://[::1]:8080/", "https://sleep.example/base/"])
def test_a_url_is_taken_without_the_slash_at_its_end(url: str) -> None:
    """A path of a gateway stays."""
    assert str(read_url(url)).rstrip("/") == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "finding"),
    [
        ("sleep.example", "must start with"),
        ("ftp://sleep.example", "must start with"),
        ("https://", "must start with"),
        ("https://sleep.example:x", "no valid host and port"),
        ("http://[::1", "no valid host and port"),
        ("https://user:hidden@sleep.example", "no user and password"),
        ("https://sleep.example?token=hidden", "nothing after"),
        ("https://sleep.example#hidden", "nothing after"),
        (None, "no valid host and port"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, finding: str) -> None:
    """And without what it holds."""
    with pytest.raises(ValueError, match=f"^url: .*{finding}") as error:
        read_url(url)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("token", ["", "Bearer abc", "a b", "a\nb", "\u00e4", "hidden\n", None, 3])
def test_a_token_that_no_header_can_carry_is_refused(token: object) -> None:
    """Without a word of it."""
    with pytest.raises(ValueError, match=r"^token: ") as error:
        check_token(token)
    assert "hidden" not in str(error.value)


def test_a_token_is_taken_as_it_is() -> None:
    """With all characters of RFC 6750."""
    assert check_token("aA0-._~+/==") == "aA0-._~+/=="


def test_certificates_are_read_for_https_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong variable is named at the start."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert tls_context(read_url("http://sleep.example")) is None
    with pytest.raises(ValueError, match=r"^SSL_CERT_FILE: it cannot be read: No such file"):
        tls_context(read_url("https://sleep.example"))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = tls_context(read_url("https://sleep.example"))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    monkeypatch.delenv("SSL_CERT_DIR")
    context = tls_context(read_url("https://sleep.example"))
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] > 50
