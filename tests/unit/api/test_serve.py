"""What a process sets up before it serves."""

import resource

import pytest

from api.serve import FILES, raise_file_limit


def test_the_limit_of_open_files_is_raised_as_far_as_may_be() -> None:
    """A thousand streams of one tenant must leave files for Redis."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_system_that_allows_no_more_is_no_reason_not_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, whose own bound is below its hard limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))

    def refuse(_: int, limits: tuple[int, int]) -> None:
        assert limits == (FILES, resource.RLIM_INFINITY)
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_file_limit()
