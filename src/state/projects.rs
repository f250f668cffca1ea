//! Projects: accepting a revision, looking one up, listing, deleting.

use rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::builds::record_of;
use super::renders::{RenderRow, render_of};
use super::rows::{parse, parse_option, revision};
use super::{StateError, Store};
use crate::domain::status::{Standing, State};
use crate::domain::{BuildId, BuildRecord, ContentHash, Outcome, Priority, ProjectId, Revision};

/// A sync or build request that wants a new revision.
#[derive(Debug, Clone)]
pub struct Accept {
    /// The project; registered where it is new.
    pub project: ProjectId,
    /// Hash of its sources now. The revision rises only where this differs from the last accepted one …
    pub tree: ContentHash,
    /// … or where this is set (`POST /build`).
    pub force: bool,
    /// Forget the project's caches in the build.
    pub clean: bool,
    /// Whether somebody waits.
    pub priority: Priority,
    /// What the sync took, ms.
    pub sync_ms: u64,
    /// Milliseconds since 1970.
    pub now: i64,
    /// `queue.max_pending`.
    pub max_pending: u32,
}

/// What became of an [`Accept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing differs from what was accepted before.
    Unchanged {
        /// What was accepted.
        revision: Revision,
        /// Its build has not ended yet.
        pending: bool,
    },
    /// Durable; its build will come.
    Building(Revision),
    /// Too many projects wait; nothing was taken over.
    QueueFull {
        /// How many.
        pending: u32,
    },
}

/// A project's row.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is explained in schema.sql")]
pub struct ProjectRow {
    pub id: ProjectId,
    pub label: String,
    pub wanted: Revision,
    pub finished: Revision,
    pub tree: Option<String>,
    pub running_build: Option<BuildId>,
    pub last_build: Option<BuildId>,
    pub last_outcome: Option<Outcome>,
    pub live_build: Option<BuildId>,
    pub live_revision: Revision,
    pub published_at: i64,
}

impl ProjectRow {
    pub(super) const COLUMNS: &str =
        "id, label, wanted, finished, tree, running_build, last_build, last_outcome, live_build, live_revision, published_at";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: parse(row, 0)?,
            label: row.get(1)?,
            wanted: revision(row, 2)?,
            finished: revision(row, 3)?,
            tree: row.get(4)?,
            running_build: parse_option(row, 5)?,
            last_build: parse_option(row, 6)?,
            last_outcome: parse_option(row, 7)?,
            live_build: parse_option(row, 8)?,
            live_revision: revision(row, 9)?,
            published_at: row.get(10)?,
        })
    }

    /// How it stands.
    pub fn state(&self) -> State {
        let claimed = self.running_build.is_some();
        Standing { wanted: self.wanted, finished: self.finished, claimed, last_outcome: self.last_outcome }.state()
    }
}

/// A project's row and the builds that its status shows, read at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The row.
    pub row: ProjectRow,
    /// The newest build that ended for good.
    pub last: Option<BuildRecord>,
    /// The build that runs now.
    pub running: Option<BuildRecord>,
    /// What a browser made of the live release.
    pub render: Option<RenderRow>,
}

/// Projects that wait, by priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Somebody waits for them.
    pub interactive: u32,
    /// Nobody does.
    pub background: u32,
}

/// What `GET /projects` asks for.
#[derive(Debug, Clone, Default)]
pub struct ProjectFilter {
    /// Only ids after this one.
    pub after: Option<ProjectId>,
    /// Only ids that contain this text.
    pub contains: Option<String>,
    /// Only projects in this state.
    pub state: Option<State>,
    /// Rows at most.
    pub limit: u32,
}

const PENDING: &str = "wanted > finished AND running_build IS NULL";

impl Store {
    /// Takes over a new revision, or finds that there is none to take.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, StateError> {
        self.write(move |c| {
            insert_project(c, &accept.project, accept.now)?;
            let (wanted, tree, waits): (i64, Option<String>, bool) = c
                .prepare_cached("SELECT wanted, tree, wanted > finished FROM projects WHERE id = ?1")?
                .query_row([accept.project.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let tree_now = accept.tree.to_string();
            if !accept.force && tree.as_deref() == Some(&tree_now) {
                return Ok(Accepted::Unchanged { revision: Revision(wanted.unsigned_abs()), pending: waits });
            }
            let counts = pending(c)?;
            let pending = counts.interactive + counts.background;
            if !waits && pending >= accept.max_pending {
                return Ok(Accepted::QueueFull { pending });
            }
            let sql = "UPDATE projects SET wanted = wanted + 1, tree = :tree, clean = max(clean, :clean), sync_ms = :sync_ms,
                    priority = CASE WHEN wanted > finished AND priority = 'interactive' THEN priority ELSE :priority END,
                    queued_at = CASE WHEN wanted > finished THEN queued_at ELSE :now END,
                    accepted_at = :now, ready_at = 0, attempts = 0
                WHERE id = :id RETURNING wanted";
            let wanted = c.prepare_cached(sql)?.query_row(
                named_params! {
                    ":id": accept.project.as_str(), ":tree": tree_now, ":clean": accept.clean,
                    ":sync_ms": i64::try_from(accept.sync_ms).unwrap_or(i64::MAX),
                    ":priority": accept.priority.as_str(), ":now": accept.now,
                },
                |row| revision(row, 0),
            )?;
            Ok(Accepted::Building(wanted))
        })
        .await
    }

    /// Registers a project that has nothing to build yet.
    pub async fn register(&self, project: ProjectId, now: i64) -> Result<(), StateError> {
        self.write(move |c| insert_project(c, &project, now)).await
    }

    /// One project's row.
    pub async fn project(&self, id: ProjectId) -> Result<Option<ProjectRow>, StateError> {
        self.read(move |c| {
            let sql = format!("SELECT {} FROM projects WHERE id = ?1", ProjectRow::COLUMNS);
            Ok(c.prepare_cached(&sql)?.query_row([id.as_str()], ProjectRow::read).optional()?)
        })
        .await
    }

    /// One project's row with its last and its running build.
    pub async fn snapshot(&self, id: ProjectId) -> Result<Option<Snapshot>, StateError> {
        self.read(move |c| {
            let sql = format!("SELECT {} FROM projects WHERE id = ?1", ProjectRow::COLUMNS);
            let Some(row) = c.prepare_cached(&sql)?.query_row([id.as_str()], ProjectRow::read).optional()? else {
                return Ok(None);
            };
            snapshot_of(c, row).map(Some)
        })
        .await
    }

    /// The project that a host-mode label stands for.
    pub async fn project_of_label(&self, label: String) -> Result<Option<ProjectId>, StateError> {
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT id FROM projects WHERE label = ?1")?;
            Ok(statement.query_row([label], |row| parse(row, 0)).optional()?)
        })
        .await
    }

    /// A page of projects, by id.
    pub async fn projects(&self, filter: ProjectFilter) -> Result<Vec<ProjectRow>, StateError> {
        self.read(move |c| {
            let sql = format!(
                "SELECT {} FROM projects WHERE id > :after AND instr(id, :contains) > 0 AND {} ORDER BY id LIMIT :limit",
                ProjectRow::COLUMNS,
                state_condition(filter.state),
            );
            let mut statement = c.prepare_cached(&sql)?;
            let after = filter.after.as_ref().map_or("", ProjectId::as_str);
            let contains = filter.contains.as_deref().unwrap_or("");
            let parameters = named_params! { ":after": after, ":contains": contains, ":limit": filter.limit };
            let rows = statement.query_map(parameters, ProjectRow::read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many projects are known.
    pub async fn project_count(&self) -> Result<u64, StateError> {
        self.read(|c| Ok(c.query_row("SELECT count(*) FROM projects", [], |row| row.get(0)).map(i64::unsigned_abs)?)).await
    }

    /// How many projects wait for a build.
    pub async fn pending(&self) -> Result<PendingCounts, StateError> {
        self.read(pending).await
    }

    /// Forgets a project and its history. Whether there was one.
    pub async fn delete_project(&self, id: ProjectId) -> Result<bool, StateError> {
        self.write(move |c| Ok(c.execute("DELETE FROM projects WHERE id = ?1", [id.as_str()])? > 0)).await
    }
}

/// A row with what else its status shows.
pub(super) fn snapshot_of(c: &Connection, row: ProjectRow) -> Result<Snapshot, StateError> {
    let last = record_of(c, row.last_build)?;
    let running = record_of(c, row.running_build)?;
    let render = row.live_build.map(|build| render_of(c, build)).transpose()?.flatten();
    Ok(Snapshot { row, last, running, render })
}

/// Registers a project where it is new.
pub(super) fn insert_project(c: &Connection, project: &ProjectId, now: i64) -> Result<(), StateError> {
    let sql = "INSERT INTO projects (id, label, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
    match c.prepare_cached(sql)?.execute(params![project.as_str(), project.label(), now]) {
        Err(rusqlite::Error::SqliteFailure(e, _)) if e.extended_code == SQLITE_CONSTRAINT_UNIQUE => Err(StateError::LabelTaken),
        inserted => Ok(inserted.map(drop)?),
    }
}

fn state_condition(state: Option<State>) -> &'static str {
    match state {
        None => "1",
        Some(State::Queued) => "wanted > finished AND running_build IS NULL",
        Some(State::Building) => "wanted > finished AND running_build IS NOT NULL",
        Some(State::Ready) => "wanted = finished AND last_outcome = 'succeeded'",
        Some(State::Error) => "wanted = finished AND last_outcome <> 'succeeded'",
        Some(State::Empty) => "wanted = finished AND last_outcome IS NULL",
    }
}

pub(super) fn pending(c: &Connection) -> Result<PendingCounts, StateError> {
    let sql = format!("SELECT coalesce(sum(priority = 'interactive'), 0), coalesce(sum(priority <> 'interactive'), 0) FROM projects WHERE {PENDING}");
    Ok(c.prepare_cached(&sql)?.query_row([], |row| Ok(PendingCounts { interactive: row.get(0)?, background: row.get(1)? }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_label_that_is_taken_is_told_as_such() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let demo: ProjectId = "Demo".parse().expect("id");
        let label = demo.label();
        store.write(move |c| Ok(c.execute("INSERT INTO projects (id, label, created_at) VALUES ('other', ?1, 0)", [label])?)).await.expect("insert");
        assert!(matches!(store.register(demo, 0).await, Err(StateError::LabelTaken)));
        let fine: ProjectId = "demo".parse().expect("id");
        for _ in ["new", "known"] {
            store.register(fine.clone(), 0).await.expect("register");
        }
    }
}
