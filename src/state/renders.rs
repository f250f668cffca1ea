//! What browsers made of releases.
//!
//! Invariant: a verdict of the daemon's own check is not replaced by what visitors claim, and visitors change one a few
//! times at most: nobody can make the daemon tell without an end.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::outbox::announce;
use super::rows::parse;
use super::{Announce, Occasion, StateError, Store};
use crate::domain::status::{RenderReport, Verdict, Witness};
use crate::domain::{BuildId, ProjectId};

/// How often the verdict on one build may become another one by what visitors say.
const CHANGES_MAX: u32 = 5;

/// The verdict on a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderRow {
    /// What it came to.
    pub verdict: Verdict,
    /// The first error, or what is missing.
    pub detail: Option<String>,
    /// Who said so.
    pub by: Witness,
    changes: u32,
}

impl RenderRow {
    /// A verdict that was not changed yet.
    pub fn new(verdict: Verdict, detail: Option<String>, by: Witness) -> Self {
        Self { verdict, detail, by, changes: 0 }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotedRender {
    /// It is the verdict now.
    Taken,
    /// It is what was known, or counts for less than that.
    Known,
    /// The project has no such build.
    UnknownBuild,
}

impl Store {
    /// Notes what a browser made of a release, and writes down who is to be told of it.
    pub async fn note_render(&self, project: ProjectId, report: RenderReport, to: Announce) -> Result<NotedRender, StateError> {
        self.write(move |c| {
            let build = report.build_id.to_string();
            if !c.prepare_cached("SELECT 1 FROM builds WHERE id = ?1 AND project_id = ?2")?.exists(params![build, project.as_str()])? {
                return Ok(NotedRender::UnknownBuild);
            }
            if !counts(render_of(c, report.build_id)?.as_ref(), &report) {
                return Ok(NotedRender::Known);
            }
            let sql = "INSERT INTO renders (build_id, verdict, detail, by, at) VALUES (:build, :verdict, :detail, :by, :at)
                ON CONFLICT (build_id) DO UPDATE SET verdict = :verdict, detail = :detail, by = :by, at = :at, changes = changes + 1";
            c.prepare_cached(sql)?.execute(named_params! {
                ":build": build, ":verdict": report.verdict.as_str(), ":detail": report.detail, ":by": report.by.as_str(),
                ":at": report.time.as_millisecond(),
            })?;
            announce(c, &project, Occasion::Render, &to, report.time.as_millisecond())?;
            Ok(NotedRender::Taken)
        })
        .await
    }

    /// The verdict on a build of a project.
    pub async fn render(&self, build: BuildId) -> Result<Option<RenderRow>, StateError> {
        self.read(move |c| render_of(c, build)).await
    }
}

/// The verdict on a build.
pub(super) fn render_of(c: &Connection, build: BuildId) -> Result<Option<RenderRow>, StateError> {
    let mut statement = c.prepare_cached("SELECT verdict, detail, by, changes FROM renders WHERE build_id = ?1")?;
    let row = statement.query_row([build.to_string()], |row| {
        Ok(RenderRow { verdict: parse(row, 0)?, detail: row.get(1)?, by: parse(row, 2)?, changes: row.get(3)? })
    });
    Ok(row.optional()?)
}

/// Whether a report takes the place of what is known.
fn counts(known: Option<&RenderRow>, report: &RenderReport) -> bool {
    if report.verdict == Verdict::Unknown {
        return false;
    }
    known.is_none_or(|known| {
        let ours = |by| by == Witness::Headless;
        match (ours(known.by), ours(report.by)) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => known.verdict != report.verdict,
            (false, false) => known.verdict != report.verdict && known.changes < CHANGES_MAX,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(verdict: Verdict, by: Witness, changes: u32) -> RenderRow {
        RenderRow { verdict, detail: None, by, changes }
    }

    fn report(verdict: Verdict, by: Witness) -> RenderReport {
        RenderReport { build_id: BuildId::from_parts(1, 0), verdict, detail: None, by, time: jiff::Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn our_own_check_counts_for_more_and_visitors_change_little() {
        use Verdict::{Empty, Rendered, Unknown};
        use Witness::{Headless, Visitor};
        assert!(counts(None, &report(Rendered, Visitor)) && !counts(None, &report(Unknown, Headless)));
        assert!(!counts(Some(&known(Rendered, Visitor, 0)), &report(Rendered, Visitor)), "nothing new");
        assert!(counts(Some(&known(Rendered, Visitor, 0)), &report(Empty, Visitor)));
        assert!(!counts(Some(&known(Rendered, Visitor, CHANGES_MAX)), &report(Empty, Visitor)), "to and fro");
        assert!(!counts(Some(&known(Rendered, Headless, 0)), &report(Empty, Visitor)));
        assert!(counts(Some(&known(Rendered, Visitor, CHANGES_MAX)), &report(Empty, Headless)));
        assert!(counts(Some(&known(Rendered, Headless, 9)), &report(Empty, Headless)));
    }
}
