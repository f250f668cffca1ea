"""nginx on a free port: the repository's site file before previewd, or a plain `root` as the measure of both."""

import socket
import time
from pathlib import Path

from processes import BenchError, clean_env, end, start

START_MAX_S = 10
BROTLI_MODULE = Path("/usr/lib/nginx/modules/ngx_http_brotli_static_module.so")
EMBED_ORIGINS = "http://localhost:* http://*.localhost:* http://127.0.0.1:* https://localhost:* https://*.localhost:*"
PREVIEW_DOMAIN = "localhost"

# What both have in common: Debian's own nginx.conf, without its log of every request.
MAIN = """
{modules}
daemon off;
worker_processes auto;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 768; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    include /etc/nginx/mime.types;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    scgi_temp_path {home}/scgi;
    uwsgi_temp_path {home}/uwsgi;
    {site}
}}
"""

PLAIN = """
    server {{
        listen {listen};
        root {root};
        gzip_static on;
        gzip_vary on;
        {brotli}
        location /assets/ {{
            add_header Cache-Control "public, max-age=31536000, immutable";
            {headers}
        }}
        location / {{
            add_header Cache-Control no-cache;
            {headers}
        }}
    }}
"""
# What previews say in every answer. All sides send it: 500 bytes more of headers cost a plain nginx a third of its answers
# for a compressed copy of 90 kB, by where the loopback device cuts, so unequal answers would compare nothing.
HEADERS = f"""
            add_header Content-Security-Policy "frame-ancestors 'self' {EMBED_ORIGINS}";
            add_header X-Content-Type-Options nosniff;
            add_header Referrer-Policy strict-origin-when-cross-origin;
            add_header Cross-Origin-Resource-Policy cross-origin;
            add_header Access-Control-Allow-Origin *;
            add_header X-Request-Id $request_id;
"""


class Nginx:
    """One nginx with a site of its own. Its workers may read what this user may."""

    def __init__(self, home: Path, site: str, listen: str) -> None:
        home.mkdir(parents=True)
        self.address = listen
        self.log = home / "error.log"
        modules = f"load_module {BROTLI_MODULE};" if BROTLI_MODULE.exists() else ""
        if Path("/proc/self").owner() == "root":
            modules += "\nuser root;"
        config = home / "nginx.conf"
        config.write_text(MAIN.format(modules=modules, home=home, site=site))
        self.process = start(["/usr/sbin/nginx", "-p", home, "-c", config, "-e", self.log], clean_env(), None, errors=None)
        try:
            self._wait_for_start()
        except BaseException:
            end(self.process)
            raise

    def _wait_for_start(self) -> None:
        host, port = self.address.split(":")
        deadline = time.monotonic() + START_MAX_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise BenchError(f"nginx did not start:\n{self.log.read_text()[-2000:]}")

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def __enter__(self) -> "Nginx":
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)


def before_previewd(home: Path, repository: Path, data: Path, upstream: str) -> Nginx:
    """The repository's site file, filled in as an installation would."""
    listen = free_address()
    values = {
        "DATA_DIR": str(data),
        "UPSTREAM": upstream,
        "LISTEN": listen,
        "API_HOST": "build.example",
        "PREVIEW_DOMAIN": PREVIEW_DOMAIN,
        "EMBED_ORIGINS": EMBED_ORIGINS,
        "MAX_BODY_KB": "4096",
        "FROM_DISK": "1",
        "EMBEDDER_POLICY": "",
    }
    snippets = home.with_name(f"{home.name}-site")
    (snippets / "snippets").mkdir(parents=True)
    for file in [repository / "nginx/previewd.conf", *(repository / "nginx/snippets").glob("*.conf")]:
        text = file.read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        text = text.replace("include snippets/", f"include {snippets}/snippets/")
        if file.name == "previewd-brotli.conf" and not BROTLI_MODULE.exists():
            text = ""
        (snippets / file.relative_to(repository / "nginx")).write_text(text)
    return Nginx(home, f"include {snippets}/previewd.conf;", listen)


def plain(home: Path, root: Path) -> Nginx:
    """What somebody would write who only wants to serve a folder, with the headers of previews."""
    listen = free_address()
    brotli = "brotli_static on;" if BROTLI_MODULE.exists() else ""
    return Nginx(home, PLAIN.format(listen=listen, root=root, brotli=brotli, headers=HEADERS), listen)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
