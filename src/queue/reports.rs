//! Takes in what browsers report of a release: what its pages said, and whether it rendered.
//!
//! Invariant: a report changes nothing but what is told. It is a claim of whoever opened the preview, bounded here whatever
//! it holds.

use std::sync::Arc;

use super::{Diagnostics, StatusBoard};
use crate::domain::status::RenderReport;
use crate::domain::{BuildId, ProjectId};
use crate::events::{ConsoleRecord, Event, Events, Notes};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::state::{Announce, NotedRender, StateError, Store};

/// The way in for reports.
#[derive(Debug)]
pub struct Reports {
    store: Store,
    board: Arc<StatusBoard>,
    events: Arc<Events>,
    metrics: Arc<Metrics>,
    announce: Announce,
    notifier: Arc<Notifier>,
    notes: Notes,
}

impl Reports {
    /// Wires it.
    pub fn new(
        store: Store,
        board: Arc<StatusBoard>,
        events: Arc<Events>,
        metrics: Arc<Metrics>,
        announce: Announce,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self { store, board, events, metrics, announce, notifier, notes: Notes::default() }
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
        let noted = self.store.note_render(project.clone(), report.clone(), self.announce.clone()).await?;
        if noted == NotedRender::Taken {
            self.metrics.renders.with_label_values(&[report.verdict.as_str()]).inc();
            tracing::info!(%project, build = %report.build_id, verdict = %report.verdict, by = %report.by, "a release was looked at");
            self.notifier.wake();
            self.events.publish(project, &Event::Render(report));
            self.board.tell(project).await;
        }
        Ok(noted)
    }

    /// What is known to be wrong with a build, within `max_chars`; `None` where the project has no such build.
    pub async fn diagnostics(&self, project: &ProjectId, build: BuildId, max_chars: usize) -> Result<Option<Diagnostics>, StateError> {
        let Some(row) = self.store.build(project.clone(), build).await? else { return Ok(None) };
        let render = self.store.render(build).await?;
        Ok(Some(Diagnostics::of(&row.record, &self.notes.of(project, build), render.as_ref(), max_chars)))
    }

    /// Forgets a project that was deleted.
    pub fn forget(&self, project: &ProjectId) {
        self.notes.forget(project);
    }
}
