//! Configuration: the embedded defaults, a file over them, the environment over both.
//!
//! Invariant: `config/previewd.toml` is the one place that names a key and its default. A key
//! that is not in it does not exist, and a [`Config`] that was loaded is valid. No error repeats a
//! secret: of `auth` it tells keys only, and of a file's text nothing.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

/// The documented defaults, also what `previewd serve` runs on without a file.
pub const DEFAULTS: &str = include_str!("../config/previewd.toml");
/// Environment variables that override a key: `PREVIEWD__SECTION__KEY`.
const ENV_PREFIX: &str = "PREVIEWD__";
/// The section whose values are never repeated.
const SECRET_SECTION: &str = "auth";
/// What is filled in with the bound port.
const PORT: &str = "{port}";

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
    #[error("{0} is not UTF-8")]
    NotText(String),
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
        let mut table: Table = DEFAULTS.parse().map_err(|e: toml::de::Error| syntax("the embedded defaults", DEFAULTS, &e))?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let origin = path.display().to_string();
            let over: Table = text.parse().map_err(|e| syntax(&origin, &text, &e))?;
            overlay(&mut table, over, &origin)?;
        }
        for (name, value) in env {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                override_from_env(&mut table, key, &value)?;
            }
        }
        let config: Self = serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| bad_type(&e.path().to_string(), e.inner()))?;
        config.check()?;
        Ok(config)
    }

    /// The overrides in this process's environment, for [`Config::load`]; other variables may be anything.
    pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
        let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let ours = ours.filter(|(name, _)| name.starts_with(ENV_PREFIX));
        ours.map(|(name, value)| value.into_string().map(|value| (name.clone(), value)).map_err(|_| ConfigError::NotText(name))).collect()
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
        self.check_addresses()?;
        EnvFilter::try_new(&self.log.level).map_err(|e| ConfigError::bad("log.level", e.to_string()))?;
        self.source_url().map(drop)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        // A port that is not bound yet; any will do.
        let public = self.server.public_url.replace(PORT, "1");
        for (key, url) in [("server.public_url", &public), ("build.registry", &self.build.registry)] {
            if !is_web_address(url) {
                return Err(ConfigError::bad(key, "must be an address that starts with http:// or https://, without query or fragment"));
            }
        }
        let domain = self.server.preview_domain.replace(PORT, "1");
        if !domain.is_empty() && (!is_host(&domain) || domain.chars().any(|c| c.is_ascii_uppercase() || c == '[')) {
            return Err(ConfigError::bad("server.preview_domain", "must be a lower-case host name, with :port (or :{port}) where it needs one"));
        }
        if let Some(origin) = self.server.embed_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError::bad("server.embed_origins", format!("{origin:?} is not an origin such as https://app.example")));
        }
        Ok(())
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

impl Server {
    /// How long running builds may go on at shutdown.
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_s.into())
    }
}

/// Where and what, without the line itself: it may hold a secret.
fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |at| at + 1));
    let column = before[start..].chars().count() + 1;
    ConfigError::Syntax { origin: origin.to_owned(), message: format!("line {line}, column {column}: {}", error.message().trim()) }
}

fn bad_type(path: &str, error: &toml::de::Error) -> ConfigError {
    // Serde repeats the value that it did not expect.
    match path.strip_prefix(SECRET_SECTION).and_then(|rest| rest.strip_prefix('.')) {
        Some(key) => {
            let key = key.split('[').next().unwrap_or_default();
            ConfigError::bad(&format!("{SECRET_SECTION}.{key}"), "must be a list of strings")
        }
        None => ConfigError::bad(path, error.message().trim()),
    }
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
    let bad = |expected: &str| {
        ConfigError::bad(
            &format!("{section}.{name}"),
            match &*section {
                SECRET_SECTION => format!("{variable} must be {expected}"),
                _ => format!("{variable} must be {expected}, not \"{text}\""),
            },
        )
    };
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
            ("[log]\nlevel = \"foo=bar=baz\"", &[], "`log.level`"),
            ("[server]\nlisten = \"127.0.0.1:1\"\npublic_url = !", &[], "line 3, column 14: "),
        ];
        for (toml, env, expected) in cases {
            let message = load(toml, env).expect_err(toml);
            assert!(message.contains(expected), "{toml:?} {env:?}: {message}");
        }
    }

    #[test]
    fn no_error_repeats_a_secret() {
        let secret = "my-super-secret";
        let texts = [
            format!("[auth]\ntokens = \"{secret}\""),
            format!("[auth]\ntokens = [[\"{secret}\"]]"),
            format!("[auth]\nwebhook_secrets = {{ a = \"{secret}\" }}"),
            format!("[auth]\ntokens = [\"{secret}\""),
            format!("[auth]\ntokens = [{secret}]"),
            format!("[auth]\ntokens = {secret}"),
            format!("[auth]\ntokens = [\"{secret}]"),
            format!("[auth]\ntokens = [\"{secret}\\q\"]"),
            format!("[auth]\ntokens [\"{secret}\"]"),
            format!("[auth]\ntokens = [\"{secret}\"] x"),
            format!("[auth]\ntokens = [\"{secret}\"]\ntokens = []"),
            format!("[auth]\ntokens = [\"{secret}\"]\n[auth]"),
            format!("[auth]\ntoken = \"{secret}\""),
            format!("auth = \"{secret}\""),
            format!("[[auth]]\ntokens = [\"{secret}\"]"),
        ];
        for text in &texts {
            let told = load(text, &[]).expect_err(text);
            assert!(!told.contains("secret\"") && !told.contains("super"), "{text}: {told}");
            assert!(told.contains("auth") || told.contains("line "), "{text}: {told}");
        }
        for name in ["PREVIEWD__AUTH__TOKENS", "PREVIEWD__AUTH__WEBHOOK_SECRETS", "PREVIEWD__AUTH__TOKEN", "PREVIEWD__AUTH"] {
            let told = load("", &[(name, secret)]).expect_err(name);
            assert!(told.contains("auth") && !told.contains("super"), "{name}: {told}");
        }
    }

    #[test]
    fn addresses_are_clean() {
        let takes = |key: &str, value: &str| load(&format!("[server]\n{key} = {value}"), &[]).is_ok();
        let origins = ["https://app.example", "http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:5173"];
        for origin in origins {
            assert!(takes("embed_origins", &format!("[{origin:?}]")), "{origin}");
        }
        let odd = [
            "https://",
            "https://a b",
            "https://a\"",
            "https://a'",
            "https://a;b",
            "https://a,b",
            "https://a/",
            "https://a?x",
            "https://a#x",
            "https://a@b",
            "https://a\tb",
            "https://a\u{7f}",
            "https://ä.example",
            "https://*.example",
            "https://a..b",
            "https://a.",
            "https://-a",
            "https://a:",
            "https://a:x",
            "https://a:+1",
            "https://a:0",
            "https://a:65536",
            "https://[::1",
            "https://::1",
            "ftp://a",
            "null",
            "*",
            "",
        ];
        for origin in odd {
            assert!(!takes("embed_origins", &toml::Value::from(vec![origin]).to_string()), "{origin:?}");
        }
        for domain in ["", "localhost:{port}", "apps.example", "apps.example:8443"] {
            assert!(takes("preview_domain", &format!("{domain:?}")), "{domain}");
        }
        for domain in [
            "localhost:{prot}",
            "{port}}",
            "{x}.example",
            "a.{port",
            "Apps.example",
            "apps.example/",
            "*.example",
            ".example",
            "example.",
            "a b",
            ":80",
        ] {
            assert!(!takes("preview_domain", &format!("{domain:?}")), "{domain}");
        }
        for url in ["http://127.0.0.1:{port}", "https://build.example/", "https://build.example/previewd"] {
            assert!(takes("public_url", &format!("{url:?}")), "{url}");
        }
        for url in ["http://127.0.0.1:{prot}", "https://{host}", "http://", "https://a b", "https://a?x=1", "https://a#x", "ws://a", "build.example"]
        {
            assert!(!takes("public_url", &format!("{url:?}")), "{url}");
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
