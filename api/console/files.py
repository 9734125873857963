"""The console's files, read once and held ready to be sent."""

import gzip
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).with_name("static")
START: Final = "index.html"
MOST_BYTES: Final = 1_000_000
"""Of all files together. They stay in memory, and a reader loads most of them at once."""
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served. A file of another kind is no part of the console."""


class File(NamedTuple):
    """A file as it is sent.

    Attributes:
        plain: its bytes.
        packed: the same, compressed by gzip.
        etag: a tag of these bytes, in quotation marks.
    """

    plain: bytes
    packed: bytes
    media_type: str
    etag: str

    @property
    def packed_etag(self) -> str:
        """The tag of the compressed bytes: a strong tag names one representation."""
        return f'{self.etag[:-1]}-gzip"'


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Return the files of a folder by their path in it.

    Raises:
        ValueError: if there is no start page, or the files are too large.
    """
    files = dict(_read(folder))
    if START not in files:
        raise ValueError(f"the console has no {START} in {folder}")
    if (size := sum(len(file.plain) for file in files.values())) > MOST_BYTES:
        raise ValueError(f"the console's files have {size} bytes, more than {MOST_BYTES}")
    return files


def _read(folder: Path) -> Iterator[tuple[str, File]]:
    for path in sorted(folder.rglob("*")):
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        plain = path.read_bytes()
        # Without a time in it, each process sends the same bytes under the same tag.
        packed = gzip.compress(plain, mtime=0)
        yield (
            path.relative_to(folder).as_posix(),
            File(plain, packed, media_type, f'"{sha256(plain).hexdigest()[:32]}"'),
        )
