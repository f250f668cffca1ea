//! Puts a project's status object together, and keeps `.build-status` up to it.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::config::SandboxMode;
use crate::disk::{blocking, replace};
use crate::domain::status::{Live, Render, RunningBuild, Status};
use crate::domain::{DataDir, ProjectId};
use crate::preview::Urls;
use crate::state::{Snapshot, StateError, Store};

/// Knows how projects stand.
#[derive(Debug)]
pub struct StatusBoard {
    store: Store,
    data: Arc<DataDir>,
    urls: Arc<Urls>,
    sandbox: SandboxMode,
    /// Held from reading a status to its file: an older one never replaces a newer.
    writing: Mutex<()>,
}

impl StatusBoard {
    /// A board over `store`.
    pub fn new(store: Store, data: Arc<DataDir>, urls: Arc<Urls>, sandbox: SandboxMode) -> Self {
        Self { store, data, urls, sandbox, writing: Mutex::new(()) }
    }

    /// The status of a project; `None` where it is unknown.
    pub async fn status(&self, project: &ProjectId) -> Result<Option<Status>, StateError> {
        Ok(self.store.snapshot(project.clone()).await?.map(|snapshot| self.view(snapshot)))
    }

    /// Brings the project's `.build-status` up to date. A file that cannot be written is no reason to fail: the state is the truth.
    pub async fn write(&self, project: &ProjectId) {
        let _turn = self.writing.lock().await;
        let written = match self.status(project).await {
            Ok(Some(status)) => self.write_file(project, &status).await,
            Ok(None) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%project, %error, "the status file could not be written");
        }
    }

    async fn write_file(&self, project: &ProjectId, status: &Status) -> io::Result<()> {
        let path = self.data.project(project).build_status();
        let text = serde_json::to_vec(status)?;
        blocking(move || replace(&path, &text)).await
    }

    fn view(&self, snapshot: Snapshot) -> Status {
        let Snapshot { row, last, running } = snapshot;
        let live = row.live_build.map(|build_id| Live {
            build_id,
            revision: row.live_revision,
            published_at: Timestamp::from_millisecond(row.published_at).unwrap_or_default(),
            url: self.urls.permalink(&row.id, build_id),
        });
        let render = live.as_ref().map(|live| Render { build_id: live.build_id, verdict: "unknown".into(), detail: None });
        Status {
            state: row.state(),
            revision: row.wanted,
            live,
            last_build: last,
            running: running.map(|record| RunningBuild { build_id: record.build_id, revision: record.revision }),
            render,
            preview_url: self.urls.preview(&row.id),
            sandbox: self.sandbox,
            project_id: row.id,
        }
    }
}
