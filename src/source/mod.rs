//! Where project files come from: a directory or Azure Blob, behind one closed set of calls.
//!
//! Invariant: no error of this floor carries a secret; [`SourceError`]'s texts may go to callers.

mod azure;
mod directory;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, SourceUrl};
use crate::domain::{ContentHash, ProjectId, SourcePath};
use crate::metrics::Metrics;
use azure::{Azure, AzureOptions, AzureUrl};
use directory::Directory;

/// The folder of a project in the source that holds its front end.
const FRONTEND: &str = "frontend";
/// Names that cannot be synced that a listing tells one by one; it only counts the others.
pub const REJECTED_NAMED_MAX: usize = 100;

/// One file as the source lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the project's `frontend/`.
    pub path: SourcePath,
    /// Version tag, without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// MD5 of the content, where the source keeps it.
    pub md5: Option<[u8; 16]>,
}

/// A project's files as the source lists them.
#[derive(Debug, Default)]
pub struct Listing {
    /// What can be synced.
    pub files: Vec<Listed>,
    /// Names that are no [`SourcePath`], and why, [`REJECTED_NAMED_MAX`] of them at most.
    pub rejected: Vec<(String, String)>,
    /// Names that are no [`SourcePath`], those that are not named too.
    pub rejected_count: usize,
}

impl Listing {
    fn add(&mut self, file: Listed, max_files: usize) -> Result<(), SourceError> {
        self.files.push(file);
        self.check(max_files)
    }

    /// An odd name does not fail a listing.
    fn reject(&mut self, name: String, why: String, max_files: usize) -> Result<(), SourceError> {
        if self.rejected.len() < REJECTED_NAMED_MAX {
            self.rejected.push((name, why));
        }
        self.rejected_count += 1;
        self.check(max_files)
    }

    /// Odd ones count too, or they would be without a limit.
    fn check(&self, max_files: usize) -> Result<(), SourceError> {
        let within = self.files.len() + self.rejected_count <= max_files;
        if within { Ok(()) } else { Err(SourceError::TooManyFiles { limit: max_files }) }
    }
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Version tag, without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, computed while it streamed.
    pub sha256: ContentHash,
}

/// What a conditional fetch found.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The source still has the version that we know; no body was sent.
    Unchanged,
    /// The source has no such file.
    Missing,
    /// The content is in the file that was named.
    File(Download),
}

/// Why the source could not be read. Secrets are taken out already.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Connect, timeout, 5xx, 429 or a cut body, after all tries.
    #[error("the source cannot be reached: {0}")]
    Unavailable(String),
    /// 401 or 403.
    #[error("the source refused our credentials: {0}")]
    Denied(String),
    /// One file over `sync.max_file_mb`.
    #[error("{path} has {size} bytes or more, over the limit sync.max_file_mb of {limit} bytes")]
    TooLarge {
        /// Which.
        path: SourcePath,
        /// Bytes seen so far.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A project over `sync.max_files`.
    #[error("the project has more than {limit} files, the limit sync.max_files")]
    TooManyFiles {
        /// Files allowed.
        limit: usize,
    },
    /// The content does not match the hash that the source gives for it, every time.
    #[error("{path} arrived damaged {attempts} times: {detail}")]
    Corrupt {
        /// Which.
        path: SourcePath,
        /// Tries.
        attempts: u32,
        /// Expected and found.
        detail: String,
    },
    /// A container that does not exist, a bad URL or connection string.
    #[error("{0}")]
    Misconfigured(String),
    /// The disk here.
    #[error("local disk: {0}")]
    Local(#[from] std::io::Error),
}

impl SourceError {
    /// A short stable name, for metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Denied(_) => "denied",
            Self::TooLarge { .. } | Self::TooManyFiles { .. } => "limit",
            Self::Corrupt { .. } => "corrupt",
            Self::Misconfigured(_) => "misconfigured",
            Self::Local(_) => "local",
        }
    }
}

#[derive(Debug)]
enum Backend {
    Directory(Directory),
    Azure(Box<Azure>),
}

/// The source, with every call counted.
#[derive(Debug)]
pub struct Source {
    backend: Backend,
    metrics: Arc<Metrics>,
}

impl Source {
    /// Opens what `source.url` names; Azure credentials come from `env`.
    pub fn open(config: &Config, env: &dyn Fn(&str) -> Option<String>, metrics: Arc<Metrics>) -> Result<Self, SourceError> {
        let url = config.source_url().map_err(|e| SourceError::Misconfigured(e.to_string()))?;
        let backend = match url {
            SourceUrl::Directory(path) => Backend::Directory(Directory::open(&path)?),
            SourceUrl::Azure { container, prefix } => {
                let options = AzureOptions {
                    concurrency: config.sync.concurrency,
                    request_timeout: Duration::from_secs(config.source.request_timeout_s.into()),
                    attempts: config.source.attempts,
                    ..AzureOptions::default()
                };
                Backend::Azure(Box::new(Azure::open(&AzureUrl { container, prefix }, env, options)?))
            }
        };
        Ok(Self { backend, metrics })
    }

    /// All files of a project; fails with [`SourceError::TooManyFiles`] as soon as there are more than `max_files`.
    pub async fn list(&self, project: &ProjectId, max_files: usize) -> Result<Listing, SourceError> {
        let listing = match &self.backend {
            Backend::Directory(source) => source.list(project, max_files).await,
            Backend::Azure(source) => source.list(project, max_files).await,
        };
        self.counted("list", listing, |_| "ok")
    }

    /// Fetches one file into `into`, unless the source still has version `known_etag`.
    pub async fn fetch(
        &self,
        project: &ProjectId,
        path: &SourcePath,
        known_etag: Option<&str>,
        into: &Path,
        max_bytes: u64,
    ) -> Result<Fetched, SourceError> {
        let fetched = match &self.backend {
            Backend::Directory(source) => source.fetch(project, path, known_etag, into, max_bytes).await,
            Backend::Azure(source) => source.fetch(project, path, known_etag, into, max_bytes).await,
        };
        self.counted("get", fetched, |fetched| match fetched {
            Fetched::Unchanged => "unchanged",
            Fetched::Missing => "missing",
            Fetched::File(_) => "ok",
        })
    }

    /// Makes the container that files lie in, where it does not exist yet: for `previewd push` only.
    pub async fn prepare(&self) -> Result<(), SourceError> {
        let done = match &self.backend {
            // Its directory was made when it was opened.
            Backend::Directory(_) => Ok(()),
            Backend::Azure(source) => match source.probe().await {
                Err(SourceError::Misconfigured(_)) => source.prepare().await,
                // Whoever may not look may still be allowed to write: that will show.
                _ => Ok(()),
            },
        };
        self.counted("prepare", done, |()| "ok")
    }

    /// Writes one file: for `previewd push` only, the daemon never writes its source.
    pub async fn put(&self, project: &ProjectId, path: &SourcePath, bytes: Vec<u8>) -> Result<(), SourceError> {
        let done = match &self.backend {
            Backend::Directory(source) => source.put(project, path, bytes).await,
            Backend::Azure(source) => source.put(project, path, bytes).await,
        };
        self.counted("put", done, |()| "ok")
    }

    /// Deletes one file, if it is there: for `previewd push` only.
    pub async fn delete(&self, project: &ProjectId, path: &SourcePath) -> Result<(), SourceError> {
        let done = match &self.backend {
            Backend::Directory(source) => source.delete(project, path).await,
            Backend::Azure(source) => source.delete(project, path).await,
        };
        self.counted("delete", done, |()| "ok")
    }

    /// One cheap call, for health.
    pub async fn probe(&self) -> Result<(), SourceError> {
        let done = match &self.backend {
            Backend::Directory(source) => source.probe().await,
            Backend::Azure(source) => source.probe().await,
        };
        self.counted("probe", done, |()| "ok")
    }

    fn counted<T>(&self, op: &str, result: Result<T, SourceError>, ok: impl FnOnce(&T) -> &'static str) -> Result<T, SourceError> {
        let label = result.as_ref().map_or_else(SourceError::kind, ok);
        self.metrics.source_requests.with_label_values(&[op, label]).inc();
        result
    }
}
