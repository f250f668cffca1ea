//! What a value must be beyond its type. Pure.

use std::net::{Ipv6Addr, SocketAddr};

use reqwest::Url;
use tracing_subscriber::EnvFilter;

use super::{Config, ConfigError};

/// What is filled in with the bound port.
const PORT: &str = "{port}";
/// Shortest token or webhook secret, in characters.
const SECRET_BYTES_MIN: usize = 16;

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("server.max_body_kb", u64::from(self.server.max_body_kb)),
            ("server.max_connections", u64::from(self.server.max_connections)),
            ("server.client_timeout_s", u64::from(self.server.client_timeout_s)),
            ("source.request_timeout_s", u64::from(self.source.request_timeout_s)),
            ("source.attempts", u64::from(self.source.attempts)),
            ("preview.keep_releases", u64::from(self.preview.keep_releases)),
            ("build.timeout_s", u64::from(self.build.timeout_s)),
            ("build.memory_mb", u64::from(self.build.memory_mb)),
            ("build.output_mb", u64::from(self.build.output_mb)),
            ("build.output_files", u64::from(self.build.output_files)),
            ("build.log_kb", u64::from(self.build.log_kb)),
            ("build.install_mb", u64::from(self.build.install_mb)),
            ("build.install_timeout_s", u64::from(self.build.install_timeout_s)),
            ("pool.worker_mb", u64::from(self.pool.worker_mb)),
            ("pool.idle_s", u64::from(self.pool.idle_s)),
            ("pool.age_s", u64::from(self.pool.age_s)),
            ("pool.builds", u64::from(self.pool.builds)),
            ("queue.max_pending", u64::from(self.queue.max_pending)),
            ("queue.max_attempts", u64::from(self.queue.max_attempts)),
            ("sync.concurrency", self.sync.concurrency as u64),
            ("sync.max_files", self.sync.max_files as u64),
            ("sync.max_file_mb", u64::from(self.sync.max_file_mb)),
            ("sync.max_project_mb", u64::from(self.sync.max_project_mb)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::bad(key, "must be at least 1"));
        }
        for (key, secrets) in [("auth.tokens", &self.auth.tokens), ("auth.webhook_secrets", &self.auth.webhook_secrets)] {
            if secrets.iter().any(|secret| secret.len() < SECRET_BYTES_MIN) {
                return Err(ConfigError::bad(key, format!("a secret has at least {SECRET_BYTES_MIN} characters")));
            }
        }
        self.check_listen(self.server.listen)?;
        self.check_addresses()?;
        self.check_notify()?;
        self.check_additions()?;
        EnvFilter::try_new(&self.log.level).map_err(|e| ConfigError::bad("log.level", e.to_string()))?;
        self.source_url().map(drop)
    }

    /// Whether `address` may be served: a generated token, which is on disk and in the log, is for this machine only. Also
    /// for a listener that was handed to us, wherever it is bound.
    pub fn check_listen(&self, address: SocketAddr) -> Result<(), ConfigError> {
        if address.ip().is_loopback() || !self.auth.tokens.is_empty() {
            return Ok(());
        }
        Err(ConfigError::bad("server.listen", format!("{address} is not a loopback address; that needs `auth.tokens` to be set")))
    }

    fn check_notify(&self) -> Result<(), ConfigError> {
        let used = [("notify.urls", !self.notify.urls.is_empty()), ("notify.hosts", !self.notify.hosts.is_empty())];
        if let Some((key, _)) = used.iter().find(|(_, used)| *used).filter(|_| self.auth.webhook_secrets.is_empty()) {
            return Err(ConfigError::bad(key, "webhooks are signed: that needs `auth.webhook_secrets` to be set"));
        }
        // Not repeated: an address of a webhook is often a secret itself.
        let is_target = |text: &&String| {
            let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
            url.is_some_and(|url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none())
        };
        if let Some(at) = self.notify.urls.iter().position(|text| !is_target(&text)) {
            let message = format!("number {} is not an address such as https://chat.example/hook, without name, password or fragment", at + 1);
            return Err(ConfigError::bad("notify.urls", message));
        }
        if let Some(host) = self.notify.hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::bad("notify.hosts", format!("{host:?} is not a host or host:port")));
        }
        Ok(())
    }

    /// What is added to builds and pages.
    fn check_additions(&self) -> Result<(), ConfigError> {
        if let Some(name) = self.build.env_names.iter().find(|name| !is_settable(name)) {
            let message = format!("{name:?} cannot be given to projects: it is no plain name, or changes how Node.js and programs run");
            return Err(ConfigError::bad("build.env_names", message));
        }
        let clean = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\`".contains(c));
        let is_script = |text: &str| {
            text.starts_with('/') && !text.starts_with("//") || Url::parse(text).is_ok_and(|url| url.has_host() && url.scheme().starts_with("http"))
        };
        match self.preview.scripts.iter().find(|text| !clean(text) || !is_script(text)) {
            Some(text) => {
                Err(ConfigError::bad("preview.scripts", format!("{text:?} is not an address that begins with https://, http:// or one slash")))
            }
            None => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        // A port that is not bound yet; any will do.
        let public = self.server.public_url.replace(PORT, "1");
        for (key, url) in [("server.public_url", &public), ("build.registry", &self.build.registry)] {
            if !is_web_address(url) {
                return Err(ConfigError::bad(key, "must be an address that starts with http:// or https://, without query or fragment"));
            }
        }
        if Url::parse(&self.build.registry).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(ConfigError::bad("build.registry", "must not hold a name or password: layers name it, so use `build.registry_token`"));
        }
        if let Some(host) = self.build.registry_hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::bad("build.registry_hosts", format!("{host:?} is not a host or host:port")));
        }
        self.build.registry_token().map(drop)?;
        let domain = self.server.preview_domain.replace(PORT, "1");
        if !domain.is_empty() && (!is_host(&domain) || domain.chars().any(|c| c.is_ascii_uppercase() || c == '[')) {
            return Err(ConfigError::bad("server.preview_domain", "must be a lower-case host name, with :port (or :{port}) where it needs one"));
        }
        if let Some(origin) = self.server.embed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError::bad("server.embed_origins", format!("{origin:?} is not an origin such as https://app.example")));
        }
        Ok(())
    }
}

/// Whether a project may be given a variable of this name. What steers Node.js, the loader of programs and the shell stays ours.
pub(super) fn is_settable(name: &str) -> bool {
    const OURS: [&str; 7] = ["PATH", "HOME", "LANG", "SHELL", "TMPDIR", "IFS", "ENV"];
    const OURS_PREFIXES: [&str; 6] = ["NODE_", "LD_", "DYLD_", "npm_", "BASH_", "PREVIEWD_"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && !OURS.contains(&name) && !OURS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// These go into headers and are compared with what browsers send, so they are what browsers send: `scheme://host[:port]`.
fn is_origin(text: &str) -> bool {
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(is_host)
}

/// A host name or a bracketed IPv6 address, with or without a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port_ok = port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0));
    let label = |label: &str| {
        let clean = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        clean && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    port_ok && address.map_or_else(|| name.split('.').all(label), |address| address.parse::<Ipv6Addr>().is_ok())
}

/// An address that others can be made of by putting a path behind it. Braces are what is left of a misspelt `{port}`.
fn is_web_address(text: &str) -> bool {
    let clean = text.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\^`{|};,?#".contains(c));
    let named = text.starts_with("http://") || text.starts_with("https://");
    clean && named && Url::parse(text).is_ok_and(|url| url.has_host())
}
