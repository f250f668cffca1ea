//! Keeps the newest releases of a project and lets the others go.

use std::fs;
use std::io;
use std::sync::Arc;

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
            self.store.release_dropped(build).await?;
            let release = dir.release(build);
            blocking(move || remove_tree(&release)).await?;
        }
        blocking(move || drop_old_logs(&dir)).await?;
        Ok(())
    }
}

fn drop_old_logs(dir: &ProjectDir) -> io::Result<()> {
    let names = fs::read_dir(dir.releases())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut logs: Vec<BuildId> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    logs.sort_unstable();
    let beyond = logs.len().saturating_sub(LOGS_KEPT);
    for build in logs.into_iter().take(beyond).filter(|build| !dir.release(*build).exists()) {
        remove_tree(&dir.log(build))?;
    }
    Ok(())
}
