//! Takes in what browsers report of a release: what its pages said, and whether it rendered.
//!
//! Invariant: a report changes nothing but what is told. It is a claim of whoever opened the preview, bounded here whatever
//! it holds.

use std::sync::Arc;

use super::StatusBoard;
use crate::domain::status::RenderReport;
use crate::domain::{BuildId, ProjectId};
use crate::events::{ConsoleRecord, Event, Events, Notes};
use crate::metrics::Metrics;
use crate::state::{NotedRender, StateError, Store};

/// The way in for reports.
#[derive(Debug)]
pub struct Reports {
    store: Store,
    board: Arc<StatusBoard>,
    events: Arc<Events>,
    metrics: Arc<Metrics>,
    notes: Notes,
}

impl Reports {
    /// Wires it.
    pub fn new(store: Store, board: Arc<StatusBoard>, events: Arc<Events>, metrics: Arc<Metrics>) -> Self {
        Self { store, board, events, metrics, notes: Notes::default() }
    }

    /// Keeps what a page of `record.build_id` said, for the diagnostics of that build, and tells it to whoever follows the project
    /// where it was not said before. The caller knows that the build is one of the project's.
    pub fn note_console(&self, project: &ProjectId, record: ConsoleRecord) {
        let record = record.bounded();
        if self.notes.add(project, &record) {
            self.events.publish(project, &Event::Console(Box::new(record)));
        }
    }

    /// Notes whether a release rendered, durably. Where that is news it is counted, told as an event `render`, and the
    /// project's status says it (where the build is live).
    pub async fn note_render(&self, project: &ProjectId, report: RenderReport) -> Result<NotedRender, StateError> {
        let report = report.bounded();
        let noted = self.store.note_render(project.clone(), report.clone()).await?;
        if noted == NotedRender::Taken {
            self.metrics.renders.with_label_values(&[report.verdict.as_str()]).inc();
            tracing::info!(%project, build = %report.build_id, verdict = %report.verdict, by = %report.by, "a release was looked at");
            self.events.publish(project, &Event::Render(report));
            self.board.tell(project).await;
        }
        Ok(noted)
    }

    /// What pages of a build said, in the order in which it came.
    pub fn console(&self, project: &ProjectId, build: BuildId) -> Vec<ConsoleRecord> {
        self.notes.of(project, build)
    }

    /// Forgets a project that was deleted.
    pub fn forget(&self, project: &ProjectId) {
        self.notes.forget(project);
    }
}
