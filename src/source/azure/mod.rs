//! Azure Blob Storage as a source: list, fetch, put, delete, probe.
//!
//! Blobs lie at `{prefix/}{project_id}/frontend/{path}`. The official client does the
//! protocol; what it lacks or does otherwise than we need stands around it, in reading order:
//! `credentials` (environment to account), `client` and `shared_key` (set up, sign), `list` and
//! `download` (one attempt each), `failure` (what an error means), `retry` (again?), `redact`; `write` is for `push`.
//!
//! Invariant: every request has a limit in time, every operation in attempts, all together in
//! concurrency; and no error that leaves has a secret in it.

mod client;
mod credentials;
mod download;
mod failure;
mod list;
mod redact;
mod retry;
mod shared_key;
mod write;
mod writer;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use azure_storage_blob::{BlobClient, BlobContainerClient};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::domain::{ProjectId, SourcePath};

use super::{Fetched, Listing, SourceError};
use credentials::Account;
use failure::Failure;
use redact::Redactor;
use retry::{Backoff, Tries};

/// The folder of a project that is ours.
const FRONTEND: &str = "frontend";

/// What follows `azure://` in `source.url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AzureUrl {
    /// The container's name.
    pub(super) container: String,
    /// What all our names begin with, without slashes around; may be empty.
    pub(super) prefix: String,
}

/// Limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct AzureOptions {
    /// Requests under way at once, all callers together; 0 counts as 1.
    pub(super) concurrency: usize,
    /// Longest wait for an answer, and for the next piece of its content.
    pub(super) request_timeout: Duration,
    /// Attempts of one operation, the first one included; 0 counts as 1.
    pub(super) attempts: u32,
    /// Longest pause after the first attempt; it doubles with each further one.
    pub(super) backoff_base: Duration,
    /// Longest pause of all, also where the store asks for more.
    pub(super) backoff_max: Duration,
}

impl Default for AzureOptions {
    /// Four attempts within about a second of pauses: somebody may be waiting for a preview.
    fn default() -> Self {
        Self {
            concurrency: 32,
            request_timeout: Duration::from_secs(15),
            attempts: 4,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// A container, or a part of one. One per process: its connections are kept and shared.
pub(super) struct Azure {
    container: BlobContainerClient,
    /// Empty, or with a slash at its end.
    prefix: String,
    redactor: Redactor,
    permits: Semaphore,
    options: AzureOptions,
}

impl Azure {
    /// Sets up the client; sends nothing. `env` reads environment variables (see `credentials`).
    pub(super) fn open(url: &AzureUrl, env: &dyn Fn(&str) -> Option<String>, options: AzureOptions) -> Result<Self, SourceError> {
        let account = Account::from_env(env)?;
        let redactor = Redactor::new(account.secrets());
        let container =
            client::open(account, &url.container).map_err(|error| SourceError::Misconfigured(format!("Azure: {}", redactor.describe(&error))))?;
        let prefix = if url.prefix.is_empty() { String::new() } else { format!("{}/", url.prefix.trim_matches('/')) };
        let permits = Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self { container, prefix, redactor, permits, options })
    }

    /// All files of a project, in the order of the store; none if there is no such project.
    pub(super) async fn list(&self, project: &ProjectId, max_files: usize) -> Result<Listing, SourceError> {
        let root = self.name(project, "");
        let mut collector = list::Collector::new(&root, max_files);
        let mut marker = None;
        loop {
            let mut tries = self.tries();
            let page = loop {
                let page = list::page(&self.container, &root, marker.as_deref(), None);
                match self.limited("a page of the listing", self.options.request_timeout, page).await {
                    Ok(page) => break page,
                    Err(failure) => tries.pause_after(failure).await?,
                }
            };
            marker = collector.take(page)?;
            if marker.is_none() {
                return Ok(collector.finish());
            }
        }
    }

    /// Brings one file into `into`, which is created or truncated, and not synced to disk. With
    /// `known_etag` only if it has changed. Nothing is left of a download that fails.
    pub(super) async fn fetch(
        &self,
        project: &ProjectId,
        path: &SourcePath,
        known_etag: Option<&str>,
        into: &Path,
        max_bytes: u64,
    ) -> Result<Fetched, SourceError> {
        let blob = self.blob(project, path);
        let request = download::Request { path, known_etag, into, max_bytes, patience: self.options.request_timeout };
        let mut tries = self.tries();
        loop {
            let permit = self.permit().await?;
            let attempt = request.attempt(&blob, &self.redactor).await;
            // Not held while we wait: others may use the time.
            drop(permit);
            match attempt {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => tries.pause_after(failure).await?,
            }
        }
    }

    /// Asks for one name, once: whether the store answers and takes our credentials.
    pub(super) async fn probe(&self) -> Result<(), SourceError> {
        let page = list::page(&self.container, &self.prefix, None, Some(1));
        let answer = self.limited("an answer", self.options.request_timeout, page).await;
        answer.map(drop).map_err(|failure| failure.error)
    }

    fn name(&self, project: &ProjectId, path: &str) -> String {
        format!("{}{project}/{FRONTEND}/{path}", self.prefix)
    }

    fn blob(&self, project: &ProjectId, path: &SourcePath) -> BlobClient {
        self.container.blob_client(&self.name(project, path.as_str()))
    }

    fn tries(&self) -> Tries {
        let AzureOptions { attempts, backoff_base: base, backoff_max: max, .. } = self.options;
        Tries::new(Backoff { attempts, base, max })
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, SourceError> {
        // It is never closed; still no reason to panic.
        self.permits.acquire().await.map_err(|e| SourceError::Unavailable(e.to_string()))
    }

    /// Runs one request with a limit in time, which starts when it is its turn.
    async fn limited<T>(&self, what: &str, limit: Duration, request: impl Future<Output = azure_core::Result<T>>) -> Result<T, Failure> {
        let _permit = self.permit().await.map_err(Failure::never)?;
        match timeout(limit, request).await {
            Ok(answer) => answer.map_err(|error| Failure::of(&error, &self.redactor)),
            Err(_) => Err(Failure::timeout(what, limit)),
        }
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The container's URL may carry a SAS.
        let url = self.redactor.clean(self.container.url().as_str());
        f.debug_struct("Azure").field("container", &url).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Lists give `ETag`s without quotes, downloads with them: one form inside.
fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(prefix: &str) -> Azure {
        let url = AzureUrl { container: "apps".to_owned(), prefix: prefix.to_owned() };
        let vars = |name: &str| match name {
            "AZURE_STORAGE_ACCOUNT_NAME" => Some("acct".to_owned()),
            "AZURE_STORAGE_SAS_TOKEN" => Some("sv=1&sig=hunter2".to_owned()),
            _ => None,
        };
        Azure::open(&url, &vars, AzureOptions::default()).unwrap()
    }

    #[test]
    fn names_and_urls() {
        let (project, path) = ("demo".parse().unwrap(), SourcePath::parse("src/a b#%.ts").unwrap());
        let azure = open("/team/one/");
        assert_eq!(azure.name(&project, path.as_str()), "team/one/demo/frontend/src/a b#%.ts");
        let url = azure.blob(&project, &path).url().to_string();
        assert!(url.starts_with("https://acct.blob.core.windows.net/apps/team%2Fone%2Fdemo%2Ffrontend%2Fsrc%2Fa%20b%23%25.ts?"), "{url}");
        assert_eq!(open("").name(&project, ""), "demo/frontend/");
    }

    #[test]
    fn debug_shows_the_container_without_its_secret() {
        let text = format!("{:?}", open(""));
        assert!(text.contains("/apps?") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn its_futures_can_be_spawned() {
        fn spawnable<F: Future + Send>(_: F) {}
        let (azure, project, path) = (open(""), "demo".parse().unwrap(), SourcePath::parse("a").unwrap());
        spawnable(azure.list(&project, 1));
        spawnable(azure.fetch(&project, &path, None, Path::new("/dev/null"), 1));
        spawnable(azure.put(&project, &path, Vec::new()));
        spawnable(azure.delete(&project, &path));
        spawnable(azure.probe());
    }
}
