//! Which release is live, for every request of every preview: kept in memory, from the state.

use dashmap::DashMap;

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
    /// Of live and of retained releases.
    pub files: FileCache,
}

impl LiveReleases {
    /// Empty; filled as previews are asked for.
    pub fn new(store: Store) -> Self {
        Self { store, live: DashMap::new(), labels: DashMap::new(), files: FileCache::default() }
    }

    /// From now on `build` is what the project's preview shows.
    pub fn set(&self, project: &ProjectId, build: BuildId, spa: bool) {
        self.live.insert(project.clone(), LiveRelease { build, spa });
    }

    /// Forgets a project that was deleted, or whose releases were removed from this machine.
    pub fn forget(&self, project: &ProjectId) {
        self.files.forget(project);
        self.live.remove(project);
        self.labels.remove(&project.label());
    }

    /// The project's live release, if it has one.
    pub async fn get(&self, project: &ProjectId) -> Result<Option<LiveRelease>, StateError> {
        if let Some(live) = self.live.get(project) {
            return Ok(Some(*live));
        }
        let Some(build) = self.store.project(project.clone()).await?.and_then(|row| row.live_build) else { return Ok(None) };
        let Some(row) = self.store.build(project.clone(), build).await? else { return Ok(None) };
        // A release that was published meanwhile is newer than what was just read.
        let live = *self.live.entry(project.clone()).or_insert(LiveRelease { build, spa: row.record.spa });
        Ok(Some(live))
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
        let found = self.store.project_of_label(label.to_owned()).await?;
        if let Some(project) = &found {
            self.labels.insert(label.to_owned(), project.clone());
        }
        Ok(found)
    }
}
