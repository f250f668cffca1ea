//! nginx before a daemon under test: the repository's own site file, filled in as an installation does it.
//!
//! It runs as one process, so that it ends as soon as that one does: the workers of a master that was killed would go on.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http::Http;
use super::{Daemon, files_below, guard};

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Another program may take a port that was free just now.
const TRIES: usize = 5;
const BROTLI_MODULE: &str = "/usr/lib/nginx/modules/ngx_http_brotli_static_module.so";
/// What previewd means by an empty `server.embed_origins` (src/preview/headers.rs).
const LOOPBACK_ORIGINS: &str = "http://localhost:* http://*.localhost:* http://127.0.0.1:* https://localhost:* https://*.localhost:*";

/// Debian's own nginx.conf, as far as it matters here; compression is on there, so it is here.
const MAIN: &str = r"
@BROTLI@
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 256; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    gzip on;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    include previewd.conf;
}
";

/// How nginx is set up.
#[derive(Default)]
pub(crate) struct Setup {
    private: bool,
    embedder_policy: &'static str,
    replaced: Vec<(&'static str, String)>,
}

impl Setup {
    /// For `preview.private = true`.
    pub(crate) fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// For a `preview.embedder_policy` other than `off`.
    pub(crate) fn embedder_policy(mut self, policy: &'static str) -> Self {
        self.embedder_policy = policy;
        self
    }

    /// Another text in place of `snippets/{name}`; `@PORT@` in it is a free port.
    pub(crate) fn replace(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.replaced.push((name, text.into()));
        self
    }

    pub(crate) fn start(self, daemon: &Daemon) -> Nginx {
        let started = (0..TRIES).find_map(|_| Nginx::spawn(&self, daemon).map_err(|log| eprintln!("{log}")).ok());
        started.expect("nginx starts")
    }
}

/// Whether there is the module for `.br` copies. Ubuntu 22.04 has none; nginx then answers with `.gz` copies.
pub(crate) fn has_brotli() -> bool {
    Path::new(BROTLI_MODULE).exists()
}

/// A running nginx; killed and removed when dropped.
pub(crate) struct Nginx {
    process: Child,
    dir: TempDir,
    pub(crate) http: Http,
    /// The port for `@PORT@`.
    pub(crate) other_port: u16,
}

impl Nginx {
    fn spawn(setup: &Setup, daemon: &Daemon) -> Result<Self, String> {
        let dir = guard::temp_dir();
        let (port, other_port) = (free_port(), free_port());
        let address = format!("127.0.0.1:{port}");
        let data = daemon.data();
        let values = [
            ("DATA_DIR", data.to_str().expect("utf-8").to_owned()),
            ("UPSTREAM", daemon.http.address.clone()),
            ("LISTEN", address.clone()),
            ("API_HOST", "127.0.0.1".to_owned()),
            ("PREVIEW_DOMAIN", "localhost".to_owned()),
            ("EMBED_ORIGINS", LOOPBACK_ORIGINS.to_owned()),
            ("MAX_BODY_KB", "4096".to_owned()),
            ("FROM_DISK", u8::from(!setup.private).to_string()),
            ("EMBEDDER_POLICY", setup.embedder_policy.to_owned()),
            ("PORT", other_port.to_string()),
        ];
        std::fs::create_dir(dir.path().join("snippets")).expect("mkdir");
        for file in files_below(&source()) {
            let replaced = setup.replaced.iter().find(|(name, _)| file == format!("snippets/{name}"));
            let text = replaced.map_or_else(|| std::fs::read_to_string(source().join(&file)).expect("read"), |(_, text)| text.clone());
            let filled = values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
            std::fs::write(dir.path().join(&file), filled).expect("write");
        }
        let module = if has_brotli() { format!("load_module {BROTLI_MODULE};") } else { String::new() };
        std::fs::write(dir.path().join("nginx.conf"), MAIN.replace("@BROTLI@", &module)).expect("write");
        if !has_brotli() {
            std::fs::write(dir.path().join("snippets/previewd-brotli.conf"), "").expect("write");
        }
        let mut command = guard::command("nginx");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null()).stderr(Stdio::null());
        command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf")).arg("-e").arg(dir.path().join("error.log"));
        let mut nginx = Self { process: guard::spawn(command), dir, http: Http::new(&address, &daemon.http.token), other_port };
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(&address).is_err() {
            if nginx.process.try_wait().expect("wait").is_some() || Instant::now() > deadline {
                return Err(format!("nginx did not start:\n{}", nginx.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }

    /// What it logged: errors only.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- nginx's log\n{}", self.log());
        }
    }
}

/// The configuration in the repository.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
