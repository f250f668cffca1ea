//! Where project files come from: a directory or Azure Blob, behind one closed set of calls.
//!
//! Invariant: no error of this floor carries a secret; [`SourceError`]'s texts may go to callers.

mod azure;
mod breaker;
mod circuit;
mod directory;
mod error;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::{Config, SourceUrl};
use crate::domain::{ContentHash, ProjectId, SourcePath};
use crate::metrics::Metrics;
use azure::{Azure, AzureOptions, AzureUrl};
use breaker::{Breaker, LOCAL, REMOTE};
use circuit::Turn;
use directory::Directory;

pub use breaker::CircuitReport;
pub use circuit::CircuitState;
pub use error::SourceError;

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

#[derive(Debug)]
enum Backend {
    Directory(Directory),
    Azure(Box<Azure>),
}

impl Backend {
    async fn probe(&self) -> Result<(), SourceError> {
        match self {
            Self::Directory(source) => source.probe().await,
            Self::Azure(source) => source.probe().await,
        }
    }
}

/// The source, with every call counted and reads behind a circuit breaker.
#[derive(Debug)]
pub struct Source(Arc<Shared>);

/// What calls have in common with the task that probes.
#[derive(Debug)]
struct Shared {
    backend: Backend,
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Source {
    /// Opens what `source.url` names; Azure credentials come from `env`.
    pub fn open(config: &Config, env: &dyn Fn(&str) -> Option<String>, metrics: Arc<Metrics>) -> Result<Self, SourceError> {
        let url = config.source_url().map_err(|e| SourceError::Misconfigured(e.to_string()))?;
        let (backend, policy) = match url {
            SourceUrl::Directory(path) => (Backend::Directory(Directory::open(&path)?), LOCAL),
            SourceUrl::Azure { container, prefix } => {
                let options = AzureOptions {
                    concurrency: config.sync.concurrency,
                    request_timeout: Duration::from_secs(config.source.request_timeout_s.into()),
                    attempts: config.source.attempts,
                    ..AzureOptions::default()
                };
                (Backend::Azure(Box::new(Azure::open(&AzureUrl { container, prefix }, env, options)?)), REMOTE)
            }
        };
        let breaker = Breaker::new(policy, metrics.source_circuit.clone());
        Ok(Self(Arc::new(Shared { backend, breaker, metrics })))
    }

    /// All files of a project; fails with [`SourceError::TooManyFiles`] as soon as there are more than `max_files`.
    pub async fn list(&self, project: &ProjectId, max_files: usize) -> Result<Listing, SourceError> {
        let list = async {
            match &self.0.backend {
                Backend::Directory(source) => source.list(project, max_files).await,
                Backend::Azure(source) => source.list(project, max_files).await,
            }
        };
        self.guarded("list", list, |_| "ok").await
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
        let fetch = async {
            match &self.0.backend {
                Backend::Directory(source) => source.fetch(project, path, known_etag, into, max_bytes).await,
                Backend::Azure(source) => source.fetch(project, path, known_etag, into, max_bytes).await,
            }
        };
        let label = |fetched: &Fetched| match fetched {
            Fetched::Unchanged => "unchanged",
            Fetched::Missing => "missing",
            Fetched::File(_) => "ok",
        };
        self.guarded("get", fetch, label).await
    }

    /// Makes the container that files lie in, where it does not exist yet: for `previewd push` only.
    pub async fn prepare(&self) -> Result<(), SourceError> {
        let done = match &self.0.backend {
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
        let done = match &self.0.backend {
            Backend::Directory(source) => source.put(project, path, bytes).await,
            Backend::Azure(source) => source.put(project, path, bytes).await,
        };
        self.counted("put", done, |()| "ok")
    }

    /// Deletes one file, if it is there: for `previewd push` only.
    pub async fn delete(&self, project: &ProjectId, path: &SourcePath) -> Result<(), SourceError> {
        let done = match &self.0.backend {
            Backend::Directory(source) => source.delete(project, path).await,
            Backend::Azure(source) => source.delete(project, path).await,
        };
        self.counted("delete", done, |()| "ok")
    }

    /// One cheap call, for health; none where the circuit is not closed.
    pub async fn probe(&self) -> Result<(), SourceError> {
        self.guarded("probe", self.0.backend.probe(), |()| "ok").await
    }

    /// Whether a read would be let through: for whoever has to wait for something else first. Sends nothing.
    pub async fn check_open(&self) -> Result<(), SourceError> {
        self.admit().await.map(drop)
    }

    /// How the circuit is.
    pub fn circuit(&self) -> CircuitReport {
        self.0.breaker.report()
    }

    async fn admit(&self) -> Result<circuit::Round, SourceError> {
        self.keep_probing();
        self.0.breaker.admit().await
    }

    /// A read, if the circuit lets it through. One that is dropped before its end says nothing.
    async fn guarded<T>(
        &self,
        op: &str,
        call: impl Future<Output = Result<T, SourceError>>,
        ok: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, SourceError> {
        let result = match self.admit().await {
            Err(refused) => Err(refused),
            Ok(round) => {
                let result = call.await;
                self.0.breaker.call_ended(round, &result);
                self.keep_probing();
                result
            }
        };
        self.counted(op, result, ok)
    }

    fn keep_probing(&self) {
        self.0.breaker.keep_probing(|| tokio::spawn(probe_until_closed(Arc::downgrade(&self.0))));
    }

    fn counted<T>(&self, op: &str, result: Result<T, SourceError>, ok: impl FnOnce(&T) -> &'static str) -> Result<T, SourceError> {
        self.0.counted(op, result, ok)
    }
}

impl Shared {
    fn counted<T>(&self, op: &str, result: Result<T, SourceError>, ok: impl FnOnce(&T) -> &'static str) -> Result<T, SourceError> {
        let label = result.as_ref().map_or_else(SourceError::kind, ok);
        self.metrics.source_requests.with_label_values(&[op, label]).inc();
        result
    }
}

/// Asks the source after each pause, until it answers or is needed no more.
async fn probe_until_closed(source: Weak<Shared>) {
    loop {
        let Some(shared) = source.upgrade() else { return };
        match shared.breaker.turn() {
            Turn::Closed => return,
            Turn::Wait(until) => {
                drop(shared);
                tokio::time::sleep_until(until.into()).await;
            }
            Turn::Probe => {
                let result = shared.counted("probe", shared.backend.probe().await, |()| "ok");
                shared.breaker.probe_ended(&result);
            }
        }
    }
}
