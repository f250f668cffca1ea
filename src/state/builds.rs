//! Build history, retained releases, and what was learnt about dependency sets.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::rows::{parse, parse_option, sql_revision};
use super::{StateError, Store};
use crate::domain::{BuildId, BuildRecord, ProjectId, Revision};

/// Builds of a project that its history keeps, besides those that something still leads to.
const HISTORY_MAX: u32 = 200;

/// A build of the history.
#[derive(Debug, Clone)]
pub struct BuildRow {
    /// What is known of it.
    pub record: BuildRecord,
    /// Its release is on disk.
    pub retained: bool,
}

/// What became of a wish to make a retained release live again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollBack {
    /// No such project.
    UnknownProject,
    /// No such build of it, or its release is gone.
    UnknownBuild,
    /// It is live, durably.
    Live {
        /// Unknown paths are routes of the app.
        spa: bool,
        /// What it shows.
        revision: Revision,
        /// What was live until now.
        before: Option<BuildId>,
    },
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

    /// Makes a retained build the live one, where its release `exists` on disk. Unless it is live already, the sources that
    /// were accepted last are forgotten: the next sync differs from what is shown, so it builds. `now`: ms since 1970.
    pub async fn roll_back(&self, project: ProjectId, build: BuildId, exists: bool, now: i64) -> Result<RollBack, StateError> {
        self.write(move |c| {
            let mut statement = c.prepare_cached("SELECT live_build FROM projects WHERE id = ?1")?;
            let Some(before) = statement.query_row([project.as_str()], |row| parse_option(row, 0)).optional()? else {
                return Ok(RollBack::UnknownProject);
            };
            let mut statement = c.prepare_cached("SELECT record, retained FROM builds WHERE id = ?1 AND project_id = ?2")?;
            let row = statement.query_row(params![build.to_string(), project.as_str()], columns).optional()?.map(decode).transpose()?;
            let Some(row) = row.filter(|row| row.retained && exists) else { return Ok(RollBack::UnknownBuild) };
            let sql = "UPDATE projects SET live_build = ?2, live_revision = ?3, published_at = ?4, tree = NULL
                WHERE id = ?1 AND live_build IS NOT ?2";
            c.prepare_cached(sql)?.execute(params![project.as_str(), build.to_string(), sql_revision(row.record.revision), now])?;
            Ok(RollBack::Live { spa: row.record.spa, revision: row.record.revision, before })
        })
        .await
    }

    /// Notes that a build's release is about to leave the disk. False where it may not: it was made live meanwhile.
    pub async fn release_dropped(&self, build: BuildId) -> Result<bool, StateError> {
        self.write(move |c| {
            let sql =
                "UPDATE builds SET retained = 0 WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM projects WHERE live_build = ?1 AND id = project_id)";
            Ok(c.prepare_cached(sql)?.execute([build.to_string()])? > 0)
        })
        .await
    }

    /// Forgets the builds that are older than the newest `HISTORY_MAX`, but for those whose release is retained, the live
    /// one, the last one and the one that runs. How many were forgotten.
    pub async fn prune_history(&self, project: ProjectId) -> Result<usize, StateError> {
        self.write(move |c| {
            let sql = "DELETE FROM builds WHERE project_id = ?1 AND NOT retained
                    AND id <= (SELECT id FROM builds WHERE project_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
                    AND NOT EXISTS (SELECT 1 FROM projects p WHERE p.id = ?1 AND builds.id IN (p.live_build, p.last_build, p.running_build))";
            Ok(c.prepare_cached(sql)?.execute(params![project.as_str(), HISTORY_MAX])?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ContentHash, Failure, FailureKind, Outcome, Priority};
    use crate::state::{Accept, Claim, Finish};

    async fn claim(store: &Store, project: &ProjectId, n: u64) -> Claim {
        let (tree, priority) = (ContentHash::of(n.to_le_bytes()), Priority::Interactive);
        let accept = Accept { project: project.clone(), tree, force: true, clean: false, priority, sync_ms: 0, now: 0, max_pending: 1000 };
        store.accept(accept).await.expect("accept");
        store.claim(BuildId::from_parts(n, 0), "token".to_owned(), 1, 1000, 1000).await.expect("claim").expect("it waits")
    }

    /// A build that ends as the `n`-th; every one of `good` succeeds.
    async fn build(store: &Store, project: &ProjectId, n: u64, good: &[u64]) {
        let claim = claim(store, project, n).await;
        let mut record = BuildRecord::begun(claim.build, claim.revision, jiff::Timestamp::UNIX_EPOCH);
        let failure = Failure::new(FailureKind::Compile, "x".to_owned());
        record.outcome = Some(if good.contains(&n) { Outcome::Succeeded } else { failure.outcome() });
        assert!(store.finish(&claim, Finish::Done(record), 0).await.expect("finish"));
    }

    #[tokio::test]
    async fn the_history_keeps_its_newest_and_what_is_still_in_use() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let (demo, other): (ProjectId, ProjectId) = ("demo".parse().expect("id"), "other".parse().expect("id"));
        build(&store, &other, 1, &[]).await;
        let kept = u64::from(HISTORY_MAX);
        // The third is live, and the second can still be rolled back to.
        for n in 2..=kept {
            build(&store, &demo, n, &[2, 3]).await;
        }
        store.release_dropped(BuildId::from_parts(3, 0)).await.expect("dropped");
        let oldest = async || store.builds(demo.clone(), None, 1000).await.expect("builds").last().map(|row| row.record.build_id);
        assert_eq!(store.prune_history(demo.clone()).await.expect("prune"), 0, "there is room");
        build(&store, &demo, kept + 1, &[]).await;
        let running = claim(&store, &demo, kept + 2).await;
        assert_eq!(store.prune_history(demo.clone()).await.expect("prune"), 0, "the oldest one is retained");
        assert_eq!(oldest().await, Some(BuildId::from_parts(2, 0)));
        store.release_dropped(BuildId::from_parts(2, 0)).await.expect("dropped");
        assert_eq!(store.prune_history(demo.clone()).await.expect("prune"), 1);
        assert_eq!(oldest().await, Some(BuildId::from_parts(3, 0)));
        let record = BuildRecord::begun(running.build, running.revision, jiff::Timestamp::UNIX_EPOCH);
        assert!(store.finish(&running, Finish::Requeue(record), 0).await.expect("finish"));
        build(&store, &demo, kept + 3, &[]).await;
        build(&store, &demo, kept + 4, &[]).await;
        assert_eq!(store.prune_history(demo.clone()).await.expect("prune"), 1, "the fourth");
        assert_eq!(oldest().await, Some(BuildId::from_parts(3, 0)), "it is live");
        assert_eq!(store.builds(other, None, 10).await.expect("builds").len(), 1);
    }
}
