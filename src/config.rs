//! Configuration: the embedded defaults, a file over them, the environment over both.
//!
//! Invariant: `config/previewd.toml` is the one place that names a key and its default. A key
//! that is not in it does not exist, and a [`Config`] that was loaded is valid.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

/// The documented defaults, also what `previewd serve` runs on without a file.
pub const DEFAULTS: &str = include_str!("../config/previewd.toml");
/// Environment variables that override a key: `PREVIEWD__SECTION__KEY`.
const ENV_PREFIX: &str = "PREVIEWD__";

/// Why a configuration cannot be used; the message names the key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin} is not valid TOML: {message}")]
    Syntax { origin: String, message: String },
    #[error("unknown key `{key}` in {origin}{}", hint.as_deref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    UnknownKey { key: String, origin: String, hint: Option<String> },
    #[error("bad value for `{key}`: {message}")]
    BadValue { key: String, message: String },
}

impl ConfigError {
    fn bad(key: &str, message: impl Into<String>) -> Self {
        Self::BadValue { key: key.to_owned(), message: message.into() }
    }
}

/// The whole configuration. Each section is handed to the component of its name.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Config {
    pub server: Server,
    pub source: Source,
    pub auth: Auth,
    pub preview: Preview,
    pub build: Build,
    pub queue: Queue,
    pub sync: Sync,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Server {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub preview_domain: String,
    pub public_url: String,
    pub embed_origins: Vec<String>,
    pub max_body_kb: u32,
    pub shutdown_grace_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Source {
    pub url: String,
    pub request_timeout_s: u32,
    pub attempts: u32,
}

/// Never printed: see its `Debug`.
#[derive(Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Auth {
    pub tokens: Vec<String>,
    pub webhook_secrets: Vec<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth {{ {} tokens, {} webhook_secrets }}", self.tokens.len(), self.webhook_secrets.len())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Preview {
    pub private: bool,
    pub keep_releases: u32,
}

/// Whether builds run in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// No sandbox, no build.
    Required,
    /// Plain child processes; said aloud wherever a state is shown.
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Build {
    pub concurrency: usize,
    pub timeout_s: u32,
    pub memory_mb: u32,
    pub output_mb: u32,
    pub output_files: u32,
    pub log_kb: u32,
    pub install_timeout_s: u32,
    pub sandbox: SandboxMode,
    pub registry: String,
    pub node: PathBuf,
    pub pnpm: PathBuf,
    pub bwrap: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Queue {
    pub max_pending: u32,
    pub background_wait_s: u32,
    pub max_attempts: u32,
    pub max_superseded: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Sync {
    pub concurrency: usize,
    pub max_files: usize,
    pub max_file_mb: u32,
    pub max_project_mb: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Where the source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// A directory on this machine.
    Directory(PathBuf),
    /// A container of Azure Blob Storage, and the prefix of all our names in it (without slashes around).
    Azure {
        /// Container name.
        container: String,
        /// May be empty.
        prefix: String,
    },
}

impl Config {
    /// Loads defaults, then `file`, then the environment (`env`: names and values), and checks all.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table: Table = DEFAULTS.parse().map_err(|e: toml::de::Error| syntax("the embedded defaults", &e))?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let origin = path.display().to_string();
            let over: Table = text.parse().map_err(|e| syntax(&origin, &e))?;
            overlay(&mut table, over, &origin)?;
        }
        for (name, value) in env {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                override_from_env(&mut table, key, &value)?;
            }
        }
        let config: Self =
            serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| ConfigError::bad(&e.path().to_string(), e.inner().message().trim()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("server.max_body_kb", u64::from(self.server.max_body_kb)),
            ("source.request_timeout_s", u64::from(self.source.request_timeout_s)),
            ("source.attempts", u64::from(self.source.attempts)),
            ("preview.keep_releases", u64::from(self.preview.keep_releases)),
            ("build.timeout_s", u64::from(self.build.timeout_s)),
            ("build.memory_mb", u64::from(self.build.memory_mb)),
            ("build.output_mb", u64::from(self.build.output_mb)),
            ("build.output_files", u64::from(self.build.output_files)),
            ("build.log_kb", u64::from(self.build.log_kb)),
            ("build.install_timeout_s", u64::from(self.build.install_timeout_s)),
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
        if !self.server.listen.ip().is_loopback() && self.auth.tokens.is_empty() {
            let message = format!("{} is not a loopback address; that needs `auth.tokens` to be set", self.server.listen);
            return Err(ConfigError::bad("server.listen", message));
        }
        for (key, url) in [("server.public_url", &self.server.public_url), ("build.registry", &self.build.registry)] {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(ConfigError::bad(key, "must start with http:// or https://"));
            }
        }
        let domain = &self.server.preview_domain;
        if !domain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:{}".contains(c)) {
            return Err(ConfigError::bad("server.preview_domain", "must be a lower-case host name, with :port where it needs one"));
        }
        if let Some(origin) = self.server.embed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError::bad("server.embed_origins", format!("`{origin}` is not an origin such as https://app.example")));
        }
        self.source_url().map(drop)
    }

    /// `source.url`, parsed, with `{data_dir}` filled in.
    pub fn source_url(&self) -> Result<SourceUrl, ConfigError> {
        let bad = |message: &str| ConfigError::bad("source.url", message);
        let url = self.source.url.replace("{data_dir}", &self.server.data_dir.to_string_lossy());
        if let Some(path) = url.strip_prefix("file://") {
            return if path.is_empty() { Err(bad("file:// needs a path")) } else { Ok(SourceUrl::Directory(path.into())) };
        }
        let Some(rest) = url.strip_prefix("azure://") else {
            return Err(bad("must be file:///directory or azure://container/prefix"));
        };
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let container_ok = container.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '$');
        if container.is_empty() || !container_ok {
            return Err(bad("azure:// needs a container: lower-case letters, digits and '-'"));
        }
        Ok(SourceUrl::Azure { container: container.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }

    /// Builds at once; `build.concurrency`, or one per core where that is 0.
    pub fn build_concurrency(&self) -> usize {
        match self.build.concurrency {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// Shortest token or webhook secret, in characters.
const SECRET_BYTES_MIN: usize = 16;

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', ';', ',', '"', '\'']))
}

impl Server {
    /// How long running builds may go on at shutdown.
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_s.into())
    }
}

fn syntax(origin: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::Syntax { origin: origin.to_owned(), message: error.to_string() }
}

fn overlay(base: &mut Table, over: Table, origin: &str) -> Result<(), ConfigError> {
    for (section, values) in over {
        let Some(Value::Table(known)) = base.get_mut(&section) else {
            return Err(unknown(section.clone(), origin, base.keys(), &section));
        };
        let Value::Table(values) = values else {
            return Err(ConfigError::bad(&section, "is a section, written [section]"));
        };
        for (key, value) in values {
            if !known.contains_key(&key) {
                return Err(unknown(format!("{section}.{key}"), origin, known.keys(), &key));
            }
            known.insert(key, value);
        }
    }
    Ok(())
}

fn unknown<'a>(key: String, origin: &str, known: impl Iterator<Item = &'a String>, name: &str) -> ConfigError {
    // A shared start is enough of a hint; it catches plurals and cut-off units.
    let near = known.max_by_key(|candidate| common_prefix(candidate, name)).filter(|near| common_prefix(near, name) >= 3);
    let hint = near.map(|near| match key.rsplit_once('.') {
        Some((section, _)) => format!("{section}.{near}"),
        None => near.clone(),
    });
    ConfigError::UnknownKey { key, origin: origin.to_owned(), hint }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

fn override_from_env(base: &mut Table, key: &str, text: &str) -> Result<(), ConfigError> {
    let (section, name) = key.split_once("__").unwrap_or((key, ""));
    let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
    let variable = format!("{ENV_PREFIX}{key}");
    let current = base.get_mut(&section).and_then(Value::as_table_mut).and_then(|table| table.get_mut(&name));
    let Some(current) = current else {
        return Err(ConfigError::UnknownKey { key: format!("{section}.{name}"), origin: variable, hint: None });
    };
    let bad = |expected: &str| ConfigError::bad(&format!("{section}.{name}"), format!("{variable} must be {expected}, not \"{text}\""));
    *current = match current {
        Value::Integer(_) => Value::Integer(text.trim().parse().map_err(|_| bad("a whole number"))?),
        Value::Boolean(_) => Value::Boolean(text.trim().parse().map_err(|_| bad("true or false"))?),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("previewd.toml");
        std::fs::write(&file, toml).expect("write");
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&file), env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_embedded_defaults_are_valid_and_as_the_contract_says() {
        let config = Config::load(None, []).expect("defaults");
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.build.timeout_s, 120);
        assert_eq!(config.build.sandbox, SandboxMode::Required);
        assert_eq!(config.queue.max_pending, 1000);
        assert_eq!(config.source_url().expect("url"), SourceUrl::Directory("./data/source".into()));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let env = [("PREVIEWD__BUILD__TIMEOUT_S", "7"), ("PREVIEWD__AUTH__TOKENS", "0123456789abcdef, fedcba9876543210"), ("OTHER", "x")];
        let config = load("[build]\ntimeout_s = 5\nlog_kb = 9\n", &env).expect("valid");
        assert_eq!((config.build.timeout_s, config.build.log_kb), (7, 9));
        assert_eq!(config.auth.tokens.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            ("[build]\ntimeout = 5", &[], "unknown key `build.timeout`"),
            ("[bild]\n", &[], "unknown key `bild`"),
            ("[build]\ntimeout_s = \"soon\"", &[], "`build.timeout_s`"),
            ("[build]\ntimeout_s = -1", &[], "`build.timeout_s`"),
            ("[build]\ntimeout_s = 0", &[], "`build.timeout_s`: must be at least 1"),
            ("[build]\nsandbox = \"maybe\"", &[], "`build.sandbox`"),
            ("build = 3", &[], "`build`"),
            ("[build", &[], "not valid TOML"),
            ("", &[("PREVIEWD__BUILD__NOPE", "1")], "unknown key `build.nope` in PREVIEWD__BUILD__NOPE"),
            ("", &[("PREVIEWD__BUILD__TIMEOUT_S", "x")], "must be a whole number"),
            ("[server]\nlisten = \"0.0.0.0:80\"", &[], "needs `auth.tokens`"),
            ("[auth]\ntokens = [\"short\"]", &[], "`auth.tokens`"),
            ("[source]\nurl = \"s3://x\"", &[], "`source.url`"),
            ("[server]\nembed_origins = [\"app.example\"]", &[], "`server.embed_origins`"),
        ];
        for (toml, env, expected) in cases {
            let message = load(toml, env).expect_err(toml);
            assert!(message.contains(expected), "{toml:?} {env:?}: {message}");
        }
    }

    #[test]
    fn azure_urls() {
        let url = |text: &str| load(&format!("[source]\nurl = \"{text}\""), &[]).and_then(|c| c.source_url().map_err(|e| e.to_string()));
        let azure = |container: &str, prefix: &str| SourceUrl::Azure { container: container.into(), prefix: prefix.into() };
        assert_eq!(url("azure://apps/team/one/"), Ok(azure("apps", "team/one")));
        assert_eq!(url("azure://apps"), Ok(azure("apps", "")));
        assert!(url("azure://").is_err());
        assert!(url("azure://Bad_Name/x").is_err());
    }
}
