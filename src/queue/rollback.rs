//! Makes a retained release live again.
//!
//! 1. the project's turn to change what is live  2. its files must be there  3. the state: durable, and it forgets which
//!    sources were accepted last, so that the next sync builds the newest again  4. previews, `dist`  5. tell
//!
//! Invariant: the state decides what is live and `dist` follows; a crash between the two is put right at the next start.

use std::io;

use jiff::Timestamp;

use super::Queue;
use crate::disk::blocking;
use crate::domain::{BuildId, ProjectId};
use crate::events::PublishReason;
use crate::release::publish;
use crate::state::{RollBack, StateError};

/// Why a release was not made live again.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum RollbackError {
    #[error("no project of this name is known")]
    UnknownProject,
    #[error("this project has no such build, or its release is no longer kept")]
    UnknownBuild,
    #[error("dist could not be pointed to the release: {0}")]
    Disk(#[from] io::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Queue {
    /// Makes the release of `build` live at once. A build that runs meanwhile goes on, and is live when it succeeds: its
    /// revision was accepted.
    pub async fn roll_back(&self, project: &ProjectId, build: BuildId) -> Result<(), RollbackError> {
        let _turn = self.swaps.lock(project).await;
        let dir = self.parts.data.project(project);
        let release = dir.release(build);
        let exists = blocking(move || Ok(release.is_dir())).await?;
        match self.parts.store.roll_back(project.clone(), build, exists, Timestamp::now().as_millisecond()).await? {
            RollBack::UnknownProject => return Err(RollbackError::UnknownProject),
            RollBack::UnknownBuild => return Err(RollbackError::UnknownBuild),
            RollBack::Live { spa, revision, before } => {
                self.parts.live.set(project, build, spa);
                // Told also where `dist` could not follow: the state has changed.
                let swapped = blocking(move || publish(&dir, build)).await;
                self.tell_published(project, build, revision, PublishReason::Rollback, before).await;
                self.tell(project).await;
                swapped?;
            }
        }
        tracing::info!(%project, %build, "rolled back");
        Ok(())
    }
}
