//! Which release is live, for every request of every preview: kept in memory, from the state.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::cache::FileCache;
use crate::domain::{BuildId, ProjectId};
use crate::state::{StateError, Store};

/// A live release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveRelease {
    /// The build that made it.
    pub build: BuildId,
    /// Unknown paths are routes of the app.
    pub spa: bool,
}

/// The live releases of all projects that were asked for, and their small files.
#[derive(Debug)]
pub struct LiveReleases {
    store: Store,
    live: DashMap<ProjectId, LiveRelease>,
    labels: DashMap<String, ProjectId>,
    /// How often something was forgotten: what was read from the state before that may be of a project that is gone.
    forgotten: AtomicU64,
    /// Of live and of retained releases.
    pub files: FileCache,
}

impl LiveReleases {
    /// Empty; filled as previews are asked for.
    pub fn new(store: Store) -> Self {
        Self { store, live: DashMap::new(), labels: DashMap::new(), forgotten: AtomicU64::new(0), files: FileCache::default() }
    }

    /// From now on `build` is what the project's preview shows.
    pub fn set(&self, project: &ProjectId, build: BuildId, spa: bool) {
        self.live.insert(project.clone(), LiveRelease { build, spa });
    }

    /// Forgets a project that was deleted, or whose releases were removed from this machine.
    pub fn forget(&self, project: &ProjectId) {
        // First: who reads the state meanwhile keeps nothing of what it said.
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.files.forget(project);
        self.live.remove(project);
        self.labels.remove(&project.label());
    }

    /// The project's live release, if it has one.
    pub async fn get(&self, project: &ProjectId) -> Result<Option<LiveRelease>, StateError> {
        if let Some(live) = self.live.get(project) {
            return Ok(Some(*live));
        }
        let since = self.forgotten.load(Ordering::SeqCst);
        let Some(build) = self.store.project(project.clone()).await?.and_then(|row| row.live_build) else { return Ok(None) };
        let Some(row) = self.store.build(project.clone(), build).await? else { return Ok(None) };
        Ok(Some(self.remember(project, LiveRelease { build, spa: row.record.spa }, since)))
    }

    /// Keeps what the state said when `since` was what [`forgotten`](Self::forgotten) counted. What is live, as far as is known.
    fn remember(&self, project: &ProjectId, live: LiveRelease, since: u64) -> LiveRelease {
        // The entry is locked while it is looked at, so a deletion either is seen here or removes what is put here.
        match self.live.entry(project.clone()) {
            // A release that was published meanwhile is newer than what was just read.
            Entry::Occupied(newer) => *newer.get(),
            Entry::Vacant(place) if self.forgotten.load(Ordering::SeqCst) == since => *place.insert(live),
            Entry::Vacant(_) => live,
        }
    }

    /// One retained build of a project.
    pub async fn retained(&self, project: &ProjectId, build: BuildId) -> Result<Option<LiveRelease>, StateError> {
        let row = self.store.build(project.clone(), build).await?;
        Ok(row.filter(|row| row.retained).map(|row| LiveRelease { build, spa: row.record.spa }))
    }

    /// The project of a host-mode label.
    pub async fn project_of_label(&self, label: &str) -> Result<Option<ProjectId>, StateError> {
        if let Some(project) = self.labels.get(label) {
            return Ok(Some(project.clone()));
        }
        let since = self.forgotten.load(Ordering::SeqCst);
        let found = self.store.project_of_label(label.to_owned()).await?;
        if let (Some(project), Entry::Vacant(place)) = (&found, self.labels.entry(label.to_owned()))
            && self.forgotten.load(Ordering::SeqCst) == since
        {
            place.insert(project.clone());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_before_a_deletion_is_not_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let releases = LiveReleases::new(Store::open(&dir.path().join("state.db")).expect("open"));
        let demo: ProjectId = "demo".parse().expect("id");
        let [old, new] = [1, 2].map(|n| LiveRelease { build: BuildId::from_parts(n, 0), spa: true });
        let before = releases.forgotten.load(Ordering::SeqCst);
        assert_eq!(releases.remember(&demo, old, before), old);
        assert_eq!(releases.get(&demo).await.expect("kept"), Some(old));
        releases.set(&demo, new.build, new.spa);
        assert_eq!(releases.remember(&demo, old, before), new, "published meanwhile");
        releases.forget(&demo);
        assert_eq!(releases.remember(&demo, new, before), new);
        assert_eq!(releases.get(&demo).await.expect("read"), None, "deleted meanwhile");
    }
}
