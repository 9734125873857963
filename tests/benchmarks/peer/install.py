"""The peer's programs, fetched once into the cache folder."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.services import UnavailableError
from tests.services.jars import cache_folder

_HERE: Final = Path(__file__).parent
_FILES: Final = ("package.json", "package-lock.json", "requirements.lock")
_TIMEOUT_SECONDS: Final = 600.0


def installed() -> Path:
    """Return a folder with the server below `node_modules` and an environment with the SDK below `venv`.

    Raises:
        UnavailableError: if there is no npm, or the installation fails.
    """
    digest = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _FILES)).hexdigest()[:12]
    folder = cache_folder() / f"restate-{digest}"
    if (folder / "installed").exists():
        return folder
    if (npm := shutil.which("npm")) is None:
        raise UnavailableError("no npm (package npm)")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy(_HERE / name, folder)
    python = folder / "venv" / "bin" / "python"
    try:
        for command in (
            [npm, "ci", "--silent", "--no-audit", "--no-fund"],
            [sys.executable, "-m", "venv", str(folder / "venv")],
            [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.lock"],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    except subprocess.SubprocessError as error:
        output = getattr(error, "stderr", "") or ""
        raise UnavailableError(f"the peer cannot be installed: {error}\n{output[-2000:]}") from error
    (folder / "installed").touch()
    return folder
