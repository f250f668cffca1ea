//! Keeps the newest releases of a project and lets the others go.

use std::fs;
use std::io;
use std::sync::Arc;

use super::publish::live_build;
use crate::disk::{blocking, remove_tree};
use crate::domain::{BuildId, DataDir, ProjectDir, ProjectId};
use crate::state::{StateError, Store};

/// Logs kept per project besides those of retained releases: enough to see how the last edits failed.
const LOGS_KEPT: usize = 20;

/// Why a release could not be let go.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// What is to be kept could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The disk.
    #[error("cannot remove an old release: {0}")]
    Disk(#[from] io::Error),
}

/// `preview.keep_releases`, applied.
#[derive(Debug)]
pub struct Retention {
    store: Store,
    data: Arc<DataDir>,
    keep: u32,
}

impl Retention {
    /// Keeps `keep` releases of every project, the live one included.
    pub fn new(store: Store, data: Arc<DataDir>, keep: u32) -> Self {
        Self { store, data, keep }
    }

    /// Removes what is beyond the limit. The state is told first: a permalink that a status names is never dead.
    pub async fn apply(&self, project: &ProjectId) -> Result<(), RetainError> {
        let dir = self.data.project(project);
        self.store.prune_history(project.clone()).await?;
        for build in self.store.builds_to_drop(project.clone(), self.keep).await? {
            if !self.store.release_dropped(build).await? {
                continue;
            }
            let release = dir.release(build);
            blocking(move || remove_tree(&release)).await?;
        }
        self.remove_orphans(project, &dir).await?;
        blocking(move || drop_old_logs(&dir)).await?;
        Ok(())
    }

    /// Removes releases that nothing knows of: a crash came between publishing and writing it down.
    ///
    /// The disk is looked at first. A release that was there then and is neither running nor live in the state, nor
    /// retained, will never be.
    async fn remove_orphans(&self, project: &ProjectId, dir: &ProjectDir) -> Result<(), RetainError> {
        let looked_at = dir.clone();
        let (on_disk, shown) = blocking(move || Ok((releases(&looked_at)?, live_build(&looked_at)))).await?;
        let Some(row) = self.store.project(project.clone()).await? else { return Ok(()) };
        let in_use = [shown, row.live_build, row.running_build];
        for build in on_disk.into_iter().filter(|build| !in_use.contains(&Some(*build))) {
            if self.store.build(project.clone(), build).await?.is_some_and(|row| row.retained) {
                continue;
            }
            tracing::warn!(%project, %build, "a release that no build stands for is removed");
            let release = dir.release(build);
            blocking(move || remove_tree(&release)).await?;
        }
        // Written before the release has its name, so those of a build that runs are left alone.
        let cleaned = dir.clone();
        blocking(move || drop_maps(&cleaned, row.running_build)).await?;
        Ok(())
    }
}

/// Removes source maps whose release is gone, or never came to be.
fn drop_maps(dir: &ProjectDir, running: Option<BuildId>) -> io::Result<()> {
    let maps = names(dir)?.into_iter().filter_map(|name| name.strip_suffix(".maps")?.parse().ok());
    for build in maps.filter(|build| Some(*build) != running && !dir.release(*build).exists()) {
        remove_tree(&dir.maps(build))?;
    }
    Ok(())
}

/// The releases on disk.
fn releases(dir: &ProjectDir) -> io::Result<Vec<BuildId>> {
    Ok(names(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// What lies in the folder of releases: nothing where the project was deleted meanwhile.
fn names(dir: &ProjectDir) -> io::Result<Vec<String>> {
    match fs::read_dir(dir.releases()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
    }
}

fn drop_old_logs(dir: &ProjectDir) -> io::Result<()> {
    let mut logs: Vec<BuildId> = names(dir)?.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    logs.sort_unstable();
    let beyond = logs.len().saturating_sub(LOGS_KEPT);
    for build in logs.into_iter().take(beyond).filter(|build| !dir.release(*build).exists()) {
        remove_tree(&dir.log(build))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BuildRecord, ContentHash, Outcome, Priority};
    use crate::release::{publish, put_back};
    use crate::state::{Accept, Claim, Finish};

    async fn claim(store: &Store, project: &ProjectId, n: u64) -> Claim {
        let accept = Accept {
            project: project.clone(),
            tree: ContentHash::of("x"),
            force: true,
            clean: false,
            priority: Priority::Interactive,
            sync_ms: 0,
            now: 0,
            max_pending: 9,
        };
        store.accept(accept).await.expect("accept");
        store.claim(BuildId::from_parts(n, 0), n.to_string(), 1, 1_000, 0).await.expect("read").expect("a claim")
    }

    async fn finish(store: &Store, claim: &Claim) {
        let mut record = BuildRecord::begun(claim.build, claim.revision, jiff::Timestamp::UNIX_EPOCH);
        record.outcome = Some(Outcome::Succeeded);
        assert!(store.finish(claim, Finish::Done(record), 2).await.expect("finish"));
    }

    fn publish_of(dir: &ProjectDir, build: BuildId) {
        fs::create_dir_all(dir.release_aside(build)).expect("mkdir");
        publish(dir, build).expect("publish");
    }

    #[tokio::test]
    async fn a_project_that_was_deleted_has_nothing_to_remove() {
        let root = tempfile::tempdir().expect("temp dir");
        let data = Arc::new(DataDir::new(root.path()));
        let retention = Retention::new(Store::open(&data.state()).expect("open"), data, 3);
        retention.apply(&"gone".parse().expect("id")).await.expect("no error");
    }

    #[tokio::test]
    async fn what_a_crash_published_is_taken_back_and_removed() {
        let root = tempfile::tempdir().expect("temp dir");
        let data = Arc::new(DataDir::new(root.path()));
        let store = Store::open(&data.state()).expect("open");
        let project: ProjectId = "demo".parse().expect("id");
        let dir = data.project(&project);
        let retention = Retention::new(store.clone(), data.clone(), 3);

        let first = claim(&store, &project, 1).await;
        publish_of(&dir, first.build);
        retention.apply(&project).await.expect("apply");
        assert!(dir.release(first.build).exists(), "it is being published");
        finish(&store, &first).await;

        let lost = claim(&store, &project, 2).await;
        publish_of(&dir, lost.build);
        store.take_up_after_crash(jiff::Timestamp::UNIX_EPOCH).await.expect("take up");
        retention.apply(&project).await.expect("apply");
        assert!(dir.release(lost.build).exists(), "dist leads to it");
        assert!(put_back(&dir, Some(first.build)).expect("put back"));
        assert!(!put_back(&dir, Some(first.build)).expect("nothing to do"));
        assert_eq!(live_build(&dir), Some(first.build));
        retention.apply(&project).await.expect("apply");
        assert!(!dir.release(lost.build).exists() && dir.release(first.build).exists());

        put_back(&dir, None).expect("put back");
        assert!(!dir.dist().is_symlink(), "nothing was ever live");
    }
}
