//! Where a build is made: a folder with the sources as the build sees them and the output that it writes, and perhaps a worker for which
//! that folder is mounted.
//!
//! Invariant: a place belongs to one project from its first build on; what it holds is gone when the place is.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::runtime::Handle;

use super::session::Session;
use crate::disk::{blocking, remove_tree};
use crate::domain::{DataDir, Manifest, SourcePath};

/// The folder. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Slot(PathBuf);

impl Slot {
    /// An empty one.
    pub(super) async fn create(data: &DataDir) -> io::Result<Self> {
        let slot = Self(data.workers().join(format!("{:016x}", rand::random::<u64>())));
        let folders = [slot.work(), slot.writable()];
        blocking(move || folders.iter().try_for_each(std::fs::create_dir_all)).await?;
        Ok(slot)
    }

    /// The whole of it.
    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    /// The project's sources of one revision, with `node_modules`.
    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What is mounted to be written to: it stays the same folder for as long as there is a worker.
    pub(super) fn writable(&self) -> PathBuf {
        self.0.join("out")
    }

    /// What a build writes.
    pub(super) fn out(&self) -> PathBuf {
        self.writable().join("dist")
    }

    /// Where Vite may keep what it likes, where there is no sandbox with a `/tmp` of its own.
    pub(super) fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let dir = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = remove_tree(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "where a build was made could not be removed; the next start tries again");
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// What a worker has in memory from its build before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Purpose {
    /// The dependencies.
    pub(super) layer: PathBuf,
    /// The app's folder in the project.
    pub(super) app: String,
    /// The editions of the layer that there were.
    pub(super) editions: Vec<PathBuf>,
}

/// A place, and who works there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) slot: Slot,
    pub(super) worker: Option<Session>,
    /// What the worker is made for; `None` where it has built nothing yet.
    pub(super) purpose: Option<Purpose>,
    /// The state of the sources in `work/`.
    holds: Option<Manifest>,
    /// What has changed there since the worker's build before; with a `+` in front where it is new or gone.
    changed: BTreeSet<String>,
    /// When it was last wanted.
    pub(super) used: Instant,
}

impl Place {
    /// Empty, nobody there.
    pub(super) async fn create(data: &DataDir) -> io::Result<Self> {
        let slot = Slot::create(data).await?;
        Ok(Self { slot, worker: None, purpose: None, holds: None, changed: BTreeSet::new(), used: Instant::now() })
    }

    /// Notes that `work/` is being brought from what it held to `manifest`.
    pub(super) fn turn_to(&mut self, manifest: &Manifest) {
        let before = self.holds.replace(manifest.clone()).unwrap_or_default();
        let path = |path: &SourcePath, sign: &str| format!("{sign}{}", path.as_str());
        let gone = before.files.keys().filter(|file| !manifest.files.contains_key(*file)).map(|file| path(file, "+"));
        let new = manifest.files.iter().filter_map(|(file, entry)| match before.files.get(file) {
            None => Some(path(file, "+")),
            Some(old) if old.sha256 != entry.sha256 => Some(path(file, "")),
            Some(_) => None,
        });
        self.changed.extend(gone.chain(new));
    }

    /// Nothing is known of `work/` any more.
    pub(super) fn forget_sources(&mut self) {
        self.holds = None;
    }

    /// What has changed since the worker was last told.
    pub(super) fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Moves the project into `other`, where a worker waits; what is left is gone.
    pub(super) async fn move_to(&mut self, other: Place) -> io::Result<()> {
        let (from, into) = (self.slot.work(), other.slot.work());
        blocking(move || std::fs::rename(from, into)).await?;
        self.slot = other.slot;
        self.worker = other.worker;
        self.purpose = None;
        Ok(())
    }

    /// Ends its worker, if there is one, and with it all that it knows.
    pub(super) async fn dismiss(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end().await;
        }
        self.purpose = None;
        self.changed.clear();
    }

    /// Bytes of memory that its worker takes.
    pub(super) fn bytes(&self) -> u64 {
        self.worker.as_ref().map_or(0, |worker| worker.bytes)
    }
}
