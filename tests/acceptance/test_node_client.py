"""The Node client as a package: packed, installed into an empty folder, and used as its page says.

No service and no registry is needed: a server in the program of the test stands in for the API.
"""

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tests.services.skips import pass_over

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENT: Final = ROOT / "clients" / "node"
# What the examples of the page leave to the reader: a server in place of the API, a breaker, and an end.
BEFORE: Final = """
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const { rules, record } = JSON.parse(readFileSync("vectors.json", "utf8"));
const event = (name, data) => `event: ${name}\\ndata: ${JSON.stringify(data)}\\n\\n`;
const events = [];
const tokens = new Set();
const server = createServer(async (request, response) => {
  tokens.add(request.headers.authorization);
  if (request.url === "/api/states/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(event("rules", rules) + event("state", record) + event("ready", { now: record.at }));
    return;
  }
  assert.equal(request.url, "/api/breakers/events");
  let body = "";
  for await (const chunk of request) body += chunk;
  const batch = JSON.parse(body);
  events.push(...batch);
  response.writeHead(202, { "content-type": "application/json" });
  response.end(JSON.stringify({ accepted: batch.length }));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}`;
const token = "token";
const breaker = Object.assign(new EventEmitter(), { name: "orders", enabled: true, closed: true });
"""
AFTER: Final = """
assert.equal(asleep, true);
breaker.emit("open");
assert.equal(await emitter.close({ release: false, timeoutSeconds: 60 }), true);
await reader.close();
server.close();
server.closeAllConnections();
assert.deepEqual([...tokens], ["Bearer token"]);
console.log(JSON.stringify(events.map(({ subject, data }) => [subject, data.breaker, data.state])));
"""

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, folder: Path) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pass_over(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("package")
    run("npm", "pack", "--silent", "--pack-destination", folder, folder=CLIENT)
    (package,) = folder.glob("*.tgz")
    return package


@pytest.fixture(scope="module")
def folder(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the package, and a state to read."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", package, folder=folder)
    vectors = json.loads((ROOT / "schemas" / "json" / "reader.vectors.json").read_text(encoding="utf-8"))
    case = next(case for case in vectors["records"] if case["name"] == "one breaker; policy: rules")
    rules = {"partition": 0, "partitions": 1, "number": 0, "position": None, "active": case["default"]}
    record = {**case["record"], "position": "0:42"}
    (folder / "vectors.json").write_text(json.dumps({"rules": rules, "record": record}))
    return folder


def test_the_package_has_the_code_its_types_and_its_license(package: Path) -> None:
    """And nothing of the project or its tests, and it needs nothing."""
    with tarfile.open(package) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    sources = {path.relative_to(CLIENT).as_posix() for path in (CLIENT / "src").rglob("*.js")}
    types = {"index.d.ts", "express.d.ts", "openfeature.d.ts", "opossum.d.ts"}
    assert names == {*sources, *types, "package.json", "README.md", "LICENSE"}
    assert "dependencies" not in json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))


def test_the_examples_of_its_page_report_breakers_and_read_a_state(folder: Path) -> None:
    """In a folder that has nothing else; the close sends what waits."""
    page = (CLIENT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```js\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    program = "\n".join([BEFORE, *blocks, AFTER]).replace('"https://sleep.example"', "url")
    (folder / "program.js").write_text(program)
    assert json.loads(run("node", "--trace-uncaught", "program.js", folder=folder)) == [
        ["acme", "payments", "open"],
        ["acme", "orders", "open"],
    ]
    installed = {path.name for path in (folder / "node_modules").iterdir() if not path.name.startswith(".")}
    assert installed == {"@somabrain"}
