//! Build history, retained releases, and what was learnt about dependency sets.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::projects::parse;
use super::{StateError, Store};
use crate::domain::{BuildId, BuildRecord, ProjectId};

/// A build of the history.
#[derive(Debug, Clone)]
pub struct BuildRow {
    /// What is known of it.
    pub record: BuildRecord,
    /// Its release is on disk.
    pub retained: bool,
}

/// A layout that a dependency set turned out to need, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearntLayout {
    /// The layout's name.
    pub layout: String,
    /// For the log.
    pub reason: String,
}

impl Store {
    /// One build of a project.
    pub async fn build(&self, project: ProjectId, build: BuildId) -> Result<Option<BuildRow>, StateError> {
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT record, retained FROM builds WHERE id = ?1 AND project_id = ?2")?;
            statement.query_row(params![build.to_string(), project.as_str()], columns).optional()?.map(decode).transpose()
        })
        .await
    }

    /// The newest builds, those before `before` where that is given.
    pub async fn builds(&self, project: ProjectId, before: Option<BuildId>, limit: u32) -> Result<Vec<BuildRow>, StateError> {
        self.read(move |c| {
            let sql =
                "SELECT record, retained FROM builds WHERE project_id = :project AND (:before IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit";
            let mut statement = c.prepare_cached(sql)?;
            let before = before.map(|id| id.to_string());
            let rows = statement.query_map(named_params! { ":project": project.as_str(), ":before": before, ":limit": limit }, columns)?;
            rows.map(|row| decode(row?)).collect()
        })
        .await
    }

    /// The retained builds that retention lets go: all but the newest `keep` and the live one.
    pub async fn builds_to_drop(&self, project: ProjectId, keep: u32) -> Result<Vec<BuildId>, StateError> {
        self.read(move |c| {
            let sql = "SELECT id FROM builds WHERE project_id = ?1 AND retained
                    AND id <> coalesce((SELECT live_build FROM projects WHERE id = ?1), '')
                ORDER BY id DESC LIMIT -1 OFFSET ?2";
            let mut statement = c.prepare_cached(sql)?;
            // The live one is kept beside these, so it takes one of the places.
            let rows = statement.query_map(params![project.as_str(), keep.saturating_sub(1)], |row| parse(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Notes that a build's release is no longer on disk.
    pub async fn release_dropped(&self, build: BuildId) -> Result<(), StateError> {
        self.write(move |c| {
            c.prepare_cached("UPDATE builds SET retained = 0 WHERE id = ?1")?.execute([build.to_string()])?;
            Ok(())
        })
        .await
    }

    /// The layout that a dependency set is known to need.
    pub async fn learnt_layout(&self, set_key: String) -> Result<Option<LearntLayout>, StateError> {
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT layout, reason FROM dependency_sets WHERE key = ?1")?;
            let row = statement.query_row([set_key], |row| Ok(LearntLayout { layout: row.get(0)?, reason: row.get(1)? }));
            Ok(row.optional()?)
        })
        .await
    }

    /// Remembers the layout that a dependency set needs.
    pub async fn learn_layout(&self, set_key: String, learnt: LearntLayout, now: i64) -> Result<(), StateError> {
        self.write(move |c| {
            c.execute(
                "INSERT INTO dependency_sets (key, layout, reason, used_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET layout = excluded.layout, reason = excluded.reason, used_at = excluded.used_at",
                params![set_key, learnt.layout, learnt.reason, now],
            )?;
            Ok(())
        })
        .await
    }
}

/// The builds of a project that runs or last ended: what a status needs.
pub(super) fn record_of(c: &Connection, build: Option<BuildId>) -> Result<Option<BuildRecord>, StateError> {
    let Some(build) = build else { return Ok(None) };
    let mut statement = c.prepare_cached("SELECT record, retained FROM builds WHERE id = ?1")?;
    let row = statement.query_row([build.to_string()], columns).optional()?;
    Ok(row.map(decode).transpose()?.map(|row| row.record))
}

fn columns(row: &Row<'_>) -> rusqlite::Result<(String, bool)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn decode((json, retained): (String, bool)) -> Result<BuildRow, StateError> {
    let record = serde_json::from_str(&json).map_err(|e| StateError::Decode(e.to_string()))?;
    Ok(BuildRow { record, retained })
}
