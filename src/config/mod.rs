//! Configuration: the embedded defaults, a file over them, the environment over both.
//!
//! Invariant: `config/previewd.toml` is the one place that names a key and its default. A key
//! that is not in it does not exist, and a [`Config`] that was loaded is valid. No error repeats a
//! secret: of `auth` it tells keys only, and of a file's text nothing.

mod check;
mod environment;
mod load;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use environment::Environment;

/// The documented defaults, also what `previewd serve` runs on without a file.
pub const DEFAULTS: &str = include_str!("../../config/previewd.toml");

/// What the names of variables begin with that Vite itself hands to a project's code, and which every project may set.
const PROJECT_VARIABLES: &str = "VITE_";

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
    #[error("credential {name}: {message}")]
    Credential { name: String, message: String },
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
    pub pool: Pool,
    pub queue: Queue,
    pub sync: Sync,
    pub notify: Notify,
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
    pub max_connections: u32,
    pub client_timeout_s: u32,
    pub shutdown_grace_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Source {
    pub url: String,
    pub request_timeout_s: u32,
    pub attempts: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Notify {
    pub urls: Vec<String>,
    pub hosts: Vec<String>,
    pub private: bool,
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
    pub embedder_policy: EmbedderPolicy,
    pub keep_releases: u32,
    pub inject: bool,
    pub source_maps: bool,
    pub scripts: Vec<String>,
}

/// What the documents of previews say of the resources that they load (HTML Standard, "Cross-origin embedder policies").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbedderPolicy {
    /// Nothing: they load and embed what they like.
    Off,
    /// Resources of other origins are loaded without cookies.
    Credentialless,
    /// Resources of other origins have to allow it.
    RequireCorp,
}

impl EmbedderPolicy {
    /// The header's value, if there is one.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Credentialless => Some("credentialless"),
            Self::RequireCorp => Some("require-corp"),
        }
    }
}

/// Whether builds run in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
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
    pub install_mb: u32,
    pub env_names: Vec<String>,
    pub registry: String,
    pub registry_hosts: Vec<String>,
    pub registry_private: bool,
    pub registry_token: Secret,
    pub registry_token_file: PathBuf,
    pub node: PathBuf,
    pub pnpm: PathBuf,
    pub bwrap: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "every key is explained in config/previewd.toml")]
pub struct Pool {
    pub memory_mb: u32,
    pub worker_mb: u32,
    pub per_layer: u32,
    pub idle_s: u32,
    pub age_s: u32,
    pub builds: u32,
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

/// A text that is never shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text; empty where there is none.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret { none }" } else { "Secret { set }" })
    }
}

impl Build {
    /// Whether a project may set a variable of this name.
    pub fn may_set(&self, name: &str) -> bool {
        check::is_settable(name) && (name.starts_with(PROJECT_VARIABLES) || self.env_names.iter().any(|known| known == name))
    }

    /// The token for `build.registry`, from whichever of the two places it is in.
    pub fn registry_token(&self) -> Result<Option<Secret>, ConfigError> {
        let mut token = self.registry_token.clone();
        if !self.registry_token_file.as_os_str().is_empty() {
            let path = &self.registry_token_file;
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            token = Secret(text.trim().to_owned());
        }
        // It becomes a line of a file of settings.
        if token.0.chars().any(|c| !c.is_ascii_graphic() || "${}".contains(c)) {
            return Err(ConfigError::bad("build.registry_token", "must be one line without spaces and without any of ${}"));
        }
        Ok(Some(token).filter(|token| !token.0.is_empty()))
    }
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

impl Server {
    /// How long a client may take to send its headers, its body, and to take an answer.
    pub fn client_timeout(&self) -> Duration {
        Duration::from_secs(self.client_timeout_s.into())
    }

    /// How long running builds may go on at shutdown.
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_s.into())
    }
}
