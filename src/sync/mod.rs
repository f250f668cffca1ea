//! Takes over a project's changes from the source.
//!
//! 1. read the manifest: what we have
//! 2. ask the source for what may differ (`ETag` first: an unchanged file costs no body)
//! 3. fetch into `.incoming`, hashing while it streams; SHA-256 decides what is a change
//! 4. check the limits on what the project would become
//! 5. apply: intent, deletions, renames, manifest, intent gone
//!
//! Invariant: until step 5 nothing of the project has changed, so a failed sync changes nothing;
//! a crash within it leaves the intent, and the next sync (or build) reconciles everything.
//! The caller holds the project's lock.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};

use crate::config;
use crate::domain::manifest::plan_reconcile;
use crate::domain::{ContentHash, Manifest, ManifestEntry, ProjectDir, ProjectId, SourcePath};
use crate::metrics::{Metrics, observe};
use crate::source::{Fetched, Source, SourceError};
pub use files::SyncFiles;

/// Bytes in the unit of `sync.max_file_mb` and `sync.max_project_mb`.
const MB: u64 = 1024 * 1024;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncScope {
    /// These paths, as the caller says.
    Changed(BTreeSet<SourcePath>),
    /// Everything: the source is listed, and what differs is fetched.
    Everything,
    /// As if for the first time: nothing that is here is trusted.
    Anew,
}

/// What a sync did.
#[derive(Debug)]
pub struct SyncReport {
    /// Paths whose content is new.
    pub changes: Vec<SourcePath>,
    /// Paths that are gone.
    pub deleted: Vec<SourcePath>,
    /// Names in the source that cannot be synced, and why; a limited number of them.
    pub rejected: Vec<(String, String)>,
    /// How many cannot be synced, those that are not named too.
    pub rejected_count: usize,
    /// The hash of the sources now.
    pub tree: ContentHash,
    /// How many files the project has now.
    pub files: usize,
    /// From the first question to the manifest.
    pub elapsed: Duration,
}

/// Why a sync changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The source, or one of its limits.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Over `sync.max_project_mb`.
    #[error("the project has {bytes} bytes, over the limit sync.max_project_mb of {limit} bytes")]
    ProjectTooLarge {
        /// What it would have.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The source holds a file where it also holds a folder.
    #[error("{0} is both a file and a folder in the source")]
    Clash(SourcePath),
    /// The disk here.
    #[error("cannot write the sources: {0}")]
    Disk(#[from] std::io::Error),
}

/// Brings projects' sources up to the source.
#[derive(Debug)]
pub struct Syncer {
    source: Arc<Source>,
    limits: config::Sync,
    metrics: Arc<Metrics>,
}

impl Syncer {
    /// A syncer that keeps to `limits`.
    pub fn new(source: Arc<Source>, limits: config::Sync, metrics: Arc<Metrics>) -> Self {
        Self { source, limits, metrics }
    }

    /// Whether the source is asked at all right now; sends nothing.
    pub async fn check_source(&self) -> Result<(), SyncError> {
        Ok(self.source.check_open().await?)
    }

    /// Syncs one project. The caller holds its lock.
    pub async fn sync(&self, project: &ProjectId, dir: &ProjectDir, scope: SyncScope) -> Result<SyncReport, SyncError> {
        let begun = Instant::now();
        let files = SyncFiles::new(dir.clone());
        let have = match scope {
            SyncScope::Anew => None,
            SyncScope::Changed(_) | SyncScope::Everything => files.read().await?,
        };
        // Seen for the first time, or its last sync did not come to its end.
        let scope = if have.is_none() { SyncScope::Anew } else { scope };
        let have = have.unwrap_or_default();
        let mut done = self.attempt(project, &have, &files, scope.clone()).await;
        if matches!((&done, &scope), (Err(SyncError::Clash(_)), SyncScope::Changed(_))) {
            // What was a file is a folder now, or the other way round, and only one of the two was named.
            done = self.attempt(project, &have, &files, SyncScope::Everything).await;
        }
        let cleared = files.clear_incoming().await;
        let report = done?;
        cleared?;
        observe(&self.metrics.sync_seconds, begun.elapsed());
        Ok(SyncReport { elapsed: begun.elapsed(), ..report })
    }

    /// Steps 2 to 5. What it fetched and did not move in is still there afterwards.
    async fn attempt(&self, project: &ProjectId, have: &Manifest, files: &SyncFiles, scope: SyncScope) -> Result<SyncReport, SyncError> {
        let anew = scope == SyncScope::Anew;
        let plan = self.plan(project, have, scope).await?;
        let fetched = self.fetch(project, have, files, plan.fetch).await?;
        let applied = self.apply(have, files, plan.gone, fetched, anew).await?;
        self.count(&applied, plan.unchanged);
        Ok(SyncReport { rejected: plan.rejected, rejected_count: plan.rejected_count, ..applied.report })
    }

    /// Step 2: which files to ask for.
    async fn plan(&self, project: &ProjectId, have: &Manifest, scope: SyncScope) -> Result<Plan, SyncError> {
        match scope {
            SyncScope::Changed(paths) => Ok(Plan { fetch: paths.into_iter().collect(), ..Plan::default() }),
            SyncScope::Everything | SyncScope::Anew => {
                let listing = self.source.list(project, self.limits.max_files).await?;
                let listed: BTreeMap<_, _> = listing.files.into_iter().map(|file| (file.path, file.etag)).collect();
                let plan = plan_reconcile(have, &listed);
                let (rejected, rejected_count) = (listing.rejected, listing.rejected_count);
                Ok(Plan { fetch: plan.fetch, gone: plan.gone, unchanged: plan.unchanged, rejected, rejected_count })
            }
        }
    }

    /// Step 3: conditional fetches, at most `sync.concurrency` at once.
    async fn fetch(&self, project: &ProjectId, have: &Manifest, files: &SyncFiles, paths: Vec<SourcePath>) -> Result<Vec<FetchedFile>, SyncError> {
        let incoming = files.make_incoming().await?;
        let max_bytes = u64::from(self.limits.max_file_mb) * MB;
        let incoming = &incoming;
        stream::iter(paths.into_iter().enumerate().map(Ok))
            .map_ok(|(n, path)| async move {
                let into = incoming.join(n.to_string());
                let known = have.files.get(&path).map(|entry| entry.etag.as_str());
                let result = self.source.fetch(project, &path, known, &into, max_bytes).await?;
                Ok(FetchedFile { path, into, result })
            })
            .try_buffer_unordered(self.limits.concurrency)
            .try_collect()
            .await
    }

    /// Steps 4 and 5.
    async fn apply(
        &self,
        have: &Manifest,
        files: &SyncFiles,
        gone: Vec<SourcePath>,
        fetched: Vec<FetchedFile>,
        anew: bool,
    ) -> Result<Applied, SyncError> {
        let mut next = have.clone();
        let mut changes = BTreeMap::new();
        let mut deleted: BTreeSet<SourcePath> = gone.into_iter().collect();
        let (mut unchanged, mut bytes) = (0, 0);
        for FetchedFile { path, into, result } in fetched {
            match result {
                Fetched::Unchanged => unchanged += 1,
                Fetched::Missing if have.files.contains_key(&path) => drop(deleted.insert(path)),
                Fetched::Missing => {}
                Fetched::File(file) => {
                    bytes += file.size;
                    let same = have.files.get(&path).is_some_and(|entry| entry.sha256 == file.sha256);
                    next.files.insert(path.clone(), ManifestEntry { sha256: file.sha256, etag: file.etag, size: file.size });
                    if same { unchanged += 1 } else { drop(changes.insert(path, into)) }
                }
            }
        }
        for path in &deleted {
            next.files.remove(path);
        }
        self.check_limits(&next)?;
        let report = SyncReport {
            changes: changes.keys().cloned().collect(),
            deleted: deleted.iter().cloned().collect(),
            rejected: Vec::new(),
            rejected_count: 0,
            tree: next.tree_hash(),
            files: next.files.len(),
            elapsed: Duration::ZERO,
        };
        if next != *have || anew {
            files.apply(changes, deleted, next, anew).await?;
        }
        Ok(Applied { report, unchanged, bytes })
    }

    fn check_limits(&self, next: &Manifest) -> Result<(), SyncError> {
        if next.files.len() > self.limits.max_files {
            return Err(SourceError::TooManyFiles { limit: self.limits.max_files }.into());
        }
        let (bytes, limit) = (next.total_bytes(), u64::from(self.limits.max_project_mb) * MB);
        if bytes > limit {
            return Err(SyncError::ProjectTooLarge { bytes, limit });
        }
        next.file_and_folder_clash().map_or(Ok(()), |path| Err(SyncError::Clash(path.clone())))
    }

    fn count(&self, applied: &Applied, listed_unchanged: usize) {
        let count = |result: &str, n: usize| self.metrics.sync_files.with_label_values(&[result]).inc_by(n as u64);
        count("fetched", applied.report.changes.len());
        count("unchanged", applied.unchanged + listed_unchanged);
        count("deleted", applied.report.deleted.len());
        self.metrics.sync_bytes.inc_by(applied.bytes);
    }
}

#[derive(Default)]
struct Plan {
    fetch: Vec<SourcePath>,
    gone: Vec<SourcePath>,
    unchanged: usize,
    rejected: Vec<(String, String)>,
    rejected_count: usize,
}

struct FetchedFile {
    path: SourcePath,
    into: PathBuf,
    result: Fetched,
}

struct Applied {
    report: SyncReport,
    unchanged: usize,
    bytes: u64,
}
