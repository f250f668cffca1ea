"""Azure Blob on loopback: Azurite, a Shared Key client that can put blobs, and rclone as the other side."""

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import re
import time
from email.message import Message
from pathlib import Path
from urllib.parse import urlencode

from measure import Clock, Sample
from processes import BenchError, clean_env, end, own_children_cpu_ms, run, start

# Azurite's well-known account: public, and of no use anywhere else.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
API_VERSION = "2021-08-06"
CONTAINER = "bench"
START_MAX_S = 30
REQUEST_MAX_S = 30
# As many as previewd fetches at once by default (sync.concurrency).
TRANSFERS = "32"


class Azurite:
    """Azurite on a free port, in memory, with one empty container."""

    def __init__(self, home: Path, tools: Path) -> None:
        script = tools / "node_modules/azurite/dist/src/blob/main.js"
        if not script.exists():
            raise BenchError(f"{script} is missing: scripts/bench installs it")
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "azurite.log"
        flags = "--blobHost 127.0.0.1 --blobPort 0 --inMemoryPersistence --silent --disableTelemetry".split()
        with self.log.open("w") as log:
            self.process = start(["node", script, *flags], clean_env(), log, home)
        try:
            self.address = self._wait_for_start()
            self._put("", b"", restype="container")
        except BaseException:
            end(self.process)
            raise

    def _wait_for_start(self) -> str:
        deadline = time.monotonic() + START_MAX_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"listens on http://(\S+)", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise BenchError(f"Azurite did not start:\n{self.log.read_text()[-2000:]}")

    def __enter__(self) -> "Azurite":
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}/{ACCOUNT}"

    def connection_string(self) -> str:
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.endpoint};"

    def put(self, name: str, content: bytes) -> None:
        """What the chat backend does: one blob, whole."""
        self._put(f"/{name}", content)

    def list(self, prefix: str) -> None:
        """One page with all blobs below, as previewd asks for them."""
        self._ask("GET", "", {"comp": "list", "include": "metadata", "prefix": prefix, "restype": "container"}, 200)

    def etag(self, name: str) -> str:
        return self._ask("HEAD", f"/{name}", {}, 200)["ETag"]

    def unchanged(self, name: str, etag: str) -> None:
        self._ask("GET", f"/{name}", {}, 304, etag=etag)

    def _put(self, blob: str, content: bytes, **parameters: str) -> None:
        self._ask("PUT", blob, parameters, 201, content)

    def _ask(self, method: str, blob: str, parameters: dict[str, str], want: int, content: bytes = b"", etag: str = "") -> Message:
        path = f"/{ACCOUNT}/{CONTAINER}{blob}"
        headers = {"x-ms-date": datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": API_VERSION}
        if blob and method == "PUT":
            headers |= {"x-ms-blob-type": "BlockBlob"}
        if etag:
            headers |= {"If-None-Match": etag}
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature(method, path, parameters, headers, len(content))}"
        query = f"?{urlencode(parameters)}" if parameters else ""
        # A connection of its own: Azurite closes those that are idle while rclone or a build runs.
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=REQUEST_MAX_S)) as connection:
            connection.request(method, path + query, content, headers)
            response = connection.getresponse()
            text = response.read()
        if response.status != want:
            raise BenchError(f"{method} {path}: {response.status} {text.decode(errors='replace')[:500]}")
        return response.headers


def signature(method: str, path: str, parameters: dict[str, str], headers: dict[str, str], length: int) -> str:
    """Shared Key, as https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key says."""
    # Encoding, language; length; MD5, type, date, two conditions; If-None-Match; another condition, range.
    standard = [method, "", "", str(length or ""), *[""] * 5, headers.get("If-None-Match", ""), "", ""]
    canonical = [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
    resource = [f"/{ACCOUNT}{path}", *(f"{name}:{parameters[name]}" for name in sorted(parameters))]
    text = "\n".join(standard + canonical + resource)
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


class Rclone:
    """rclone from the project's blobs into a folder, as a webhook handler would call it: one process per call."""

    def __init__(self, azurite: Azurite, prefix: str, target: Path) -> None:
        self.azurite, self.prefix, self.target = azurite, prefix, target

    def run(self, command: str, *flags: str) -> Sample:
        """From the start of the process to its end."""
        config = {
            "TYPE": "azureblob",
            "ACCOUNT": ACCOUNT,
            "KEY": KEY,
            # Together they mean: this endpoint, over plain HTTP.
            "USE_EMULATOR": "true",
            "ENDPOINT": self.azurite.endpoint,
        }
        env = clean_env(**{f"RCLONE_CONFIG_BENCH_{key}": value for key, value in config.items()})
        # The fastest flags that were found; a plain call (4 transfers, no fast list) takes longer.
        tuned = ["--config", "/dev/null", "--transfers", TRANSFERS, "--checkers", TRANSFERS, "--fast-list", "--retries", "1"]
        cpu, clock = own_children_cpu_ms(), Clock()
        run(["rclone", command, f"bench:{CONTAINER}/{self.prefix}", str(self.target), *tuned, *flags], self.target.parent, env)
        return Sample(clock.ms(), own_children_cpu_ms() - cpu)
