//! Puts a project's status object together, keeps `.build-status` up to it, and tells whoever follows the project.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::config::SandboxMode;
use crate::disk::{blocking, replace_soon};
use crate::domain::status::{Live, Render, RunningBuild, Status, Verdict};
use crate::domain::{DataDir, ProjectId};
use crate::events::{Event, Events};
use crate::preview::Urls;
use crate::state::{Announce, Snapshot, StateError, Store};

/// Knows how projects stand.
#[derive(Debug)]
pub struct StatusBoard {
    store: Store,
    data: Arc<DataDir>,
    urls: Arc<Urls>,
    sandbox: SandboxMode,
    events: Arc<Events>,
    /// Held from reading a status to telling it: an older one never comes after a newer.
    writing: Mutex<()>,
}

impl StatusBoard {
    /// A board over `store`.
    pub fn new(store: Store, data: Arc<DataDir>, urls: Arc<Urls>, sandbox: SandboxMode, events: Arc<Events>) -> Self {
        Self { store, data, urls, sandbox, events, writing: Mutex::new(()) }
    }

    /// The status of a project; `None` where it is unknown.
    pub async fn status(&self, project: &ProjectId) -> Result<Option<Status>, StateError> {
        Ok(self.store.snapshot(project.clone()).await?.map(|snapshot| self.view(snapshot)))
    }

    /// Tells how a project stands: its `.build-status` first, then whoever listens, who finds it in the file. One that cannot
    /// be written is no reason to fail: the state is the truth.
    pub async fn tell(&self, project: &ProjectId) {
        let turn = self.writing.lock().await;
        let written = match self.status(project).await {
            Ok(Some(status)) => {
                let written = self.write_file(project, &status).await;
                self.events.publish(project, &Event::Status(Box::new(status)));
                written
            }
            Ok(None) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%project, %error, "the status file could not be written");
        }
        drop(turn);
        self.events.status_changed(project);
    }

    /// How this is told to others: to `urls` of every project.
    pub fn announce(self: &Arc<Self>, urls: &[String]) -> Announce {
        let board = self.clone();
        let compose = move |snapshot| serde_json::to_string(&board.view(snapshot)).unwrap_or_default();
        Announce { urls: urls.into(), compose: Arc::new(compose) }
    }

    async fn write_file(&self, project: &ProjectId, status: &Status) -> io::Result<()> {
        let path = self.data.project(project).build_status();
        let text = serde_json::to_vec(status)?;
        blocking(move || replace_soon(&path, &text)).await
    }

    fn view(&self, snapshot: Snapshot) -> Status {
        let Snapshot { row, last, running, render } = snapshot;
        let live = row.live_build.map(|build_id| Live {
            build_id,
            revision: row.live_revision,
            published_at: Timestamp::from_millisecond(row.published_at).unwrap_or_default(),
            url: self.urls.permalink(&row.id, build_id),
        });
        let seen = render.map_or((Verdict::Unknown, None), |seen| (seen.verdict, seen.detail));
        let render = live.as_ref().map(|live| Render { build_id: live.build_id, verdict: seen.0, detail: seen.1 });
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
