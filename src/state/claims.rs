//! The queue's state machine: claim, renew, finish, give back, take up after a crash.
//!
//! Invariant: a claim is one short statement with a lease and a token of its own. Whoever
//! comes back with another token than the row's changes nothing.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::rows::{parse, revision, sql_revision};
use super::{Announce, Occasion, StateError, Store, outbox};
use crate::domain::{BuildId, BuildRecord, Outcome, ProjectId, Revision};

/// One project's build, taken.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose.
    pub project: ProjectId,
    /// What is to be built.
    pub revision: Revision,
    /// The build that this claim is for.
    pub build: BuildId,
    /// Proves that the claim is still ours.
    pub token: String,
    /// Forget the project's caches.
    pub clean: bool,
    /// Earlier claims of this revision that failed through no fault of it.
    pub attempts: u32,
    /// Builds in a row that newer revisions cut short.
    pub superseded: u32,
    /// When the revision was accepted, ms since 1970.
    pub accepted_at: i64,
    /// What its sync took, ms.
    pub sync_ms: u64,
}

/// How a claim ends.
#[derive(Debug, Clone)]
pub enum Finish {
    /// For good: the revision is finished. `Succeeded` makes it live too.
    Done(BuildRecord),
    /// A newer revision cut it short; the row stays pending.
    Superseded(BuildRecord),
    /// Not its fault: again, not before this time (ms since 1970).
    Retry {
        /// What there is to say of this attempt.
        record: BuildRecord,
        /// When to try again.
        ready_at: i64,
    },
    /// The daemon stops: again at the next start, as if never claimed.
    Requeue(BuildRecord),
}

impl Store {
    /// Takes the next project that waits: interactive ones first, then by waiting time; a background
    /// one that has waited for `background_wait_ms` counts as interactive.
    pub async fn claim(&self, build: BuildId, token: String, now: i64, lease_ms: i64, background_wait_ms: i64) -> Result<Option<Claim>, StateError> {
        self.write(move |c| {
            let sql = "UPDATE projects SET lease_token = :token, lease_until = :now + :lease, running_build = :build
                WHERE id = (
                    SELECT id FROM projects WHERE wanted > finished AND lease_until <= :now AND ready_at <= :now
                    ORDER BY priority <> 'interactive' AND queued_at > :now - :patience, queued_at LIMIT 1)
                RETURNING id, wanted, clean, attempts, superseded, accepted_at, sync_ms";
            let parameters = named_params! {
                ":token": token, ":now": now, ":lease": lease_ms, ":build": build.to_string(), ":patience": background_wait_ms,
            };
            let claim = c
                .prepare_cached(sql)?
                .query_row(parameters, |row| {
                    Ok(Claim {
                        project: parse(row, 0)?,
                        revision: revision(row, 1)?,
                        build,
                        token: token.clone(),
                        clean: row.get(2)?,
                        attempts: row.get(3)?,
                        superseded: row.get(4)?,
                        accepted_at: row.get(5)?,
                        sync_ms: row.get::<_, i64>(6)?.unsigned_abs(),
                    })
                })
                .optional()?;
            if let Some(claim) = &claim {
                let started = jiff::Timestamp::from_millisecond(now).map_err(|e| StateError::Decode(e.to_string()))?;
                insert_build(c, &claim.project, &BuildRecord::begun(build, claim.revision, started))?;
            }
            Ok(claim)
        })
        .await
    }

    /// When the earliest project that backs off may be claimed, ms since 1970.
    pub async fn next_ready(&self, now: i64) -> Result<Option<i64>, StateError> {
        self.read(move |c| {
            let sql = "SELECT min(max(ready_at, lease_until)) FROM projects WHERE wanted > finished AND max(ready_at, lease_until) > ?1";
            Ok(c.prepare_cached(sql)?.query_row([now], |row| row.get(0))?)
        })
        .await
    }

    /// Holds a claim for longer. Whether it still is ours.
    pub async fn renew(&self, claim: &Claim, until: i64) -> Result<bool, StateError> {
        let (id, token) = (claim.project.to_string(), claim.token.clone());
        self.write(move |c| {
            let sql = "UPDATE projects SET lease_until = ?3 WHERE id = ?1 AND lease_token = ?2";
            Ok(c.prepare_cached(sql)?.execute(params![id, token, until])? > 0)
        })
        .await
    }

    /// Whether a claim still is ours: asked before its build becomes visible.
    pub async fn is_ours(&self, claim: &Claim) -> Result<bool, StateError> {
        let (id, token) = (claim.project.to_string(), claim.token.clone());
        self.read(move |c| {
            let sql = "SELECT count(*) FROM projects WHERE id = ?1 AND lease_token = ?2";
            Ok(c.prepare_cached(sql)?.query_row(params![id, token], |row| row.get::<_, i64>(0))? > 0)
        })
        .await
    }

    /// Ends a claim. Whether it still was ours; if not, nothing was changed.
    pub async fn finish(&self, claim: &Claim, finish: Finish, now: i64) -> Result<bool, StateError> {
        self.finish_and_announce(claim, finish, now, None).await
    }

    /// The same; where it ends for good, whoever wants to know is told of it: written down at once, delivered afterwards.
    pub async fn finish_and_announce(&self, claim: &Claim, finish: Finish, now: i64, announce: Option<Announce>) -> Result<bool, StateError> {
        let claim = claim.clone();
        self.write(move |c| {
            let ours = match &finish {
                Finish::Done(record) => finish_for_good(c, &claim, record, now)?,
                Finish::Superseded(_) => give_back(c, &claim, GiveBack { superseded: 1, attempts: 0, ready_at: 0 })?,
                Finish::Retry { ready_at, .. } => give_back(c, &claim, GiveBack { superseded: 0, attempts: 1, ready_at: *ready_at })?,
                Finish::Requeue(_) => give_back(c, &claim, GiveBack { superseded: 0, attempts: 0, ready_at: 0 })?,
            };
            if ours {
                save_build(c, finish.record())?;
            }
            if let (true, Finish::Done(_), Some(to)) = (ours, &finish, &announce) {
                outbox::announce(c, &claim.project, Occasion::Build, to, now)?;
            }
            Ok(ours)
        })
        .await
    }

    /// Takes back every claim of a daemon that is no more: its builds count as cancelled, their
    /// projects wait again. Returns those projects.
    pub async fn take_up_after_crash(&self, now: jiff::Timestamp) -> Result<Vec<ProjectId>, StateError> {
        self.write(move |c| {
            let sql = "SELECT p.id, b.record FROM projects p LEFT JOIN builds b ON b.id = p.running_build WHERE p.running_build IS NOT NULL";
            let lost: Vec<(ProjectId, Option<String>)> =
                c.prepare(sql)?.query_map([], |row| Ok((parse(row, 0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            for text in lost.iter().filter_map(|(_, record)| record.as_ref()) {
                let mut record: BuildRecord = serde_json::from_str(text).map_err(|e| StateError::Decode(e.to_string()))?;
                record.outcome = Some(Outcome::Cancelled);
                record.finished_at = Some(now);
                save_build(c, &record)?;
            }
            c.execute("UPDATE projects SET lease_token = NULL, lease_until = 0, running_build = NULL WHERE running_build IS NOT NULL", [])?;
            Ok(lost.into_iter().map(|(project, _)| project).collect())
        })
        .await
    }
}

impl Finish {
    /// The build that the claim was for.
    pub fn record(&self) -> &BuildRecord {
        match self {
            Self::Done(record) | Self::Superseded(record) | Self::Requeue(record) | Self::Retry { record, .. } => record,
        }
    }
}

#[derive(Clone, Copy)]
/// What a claim that did not end for good leaves on its row.
struct GiveBack {
    superseded: u32,
    attempts: u32,
    ready_at: i64,
}

fn give_back(c: &Connection, claim: &Claim, back: GiveBack) -> Result<bool, StateError> {
    let sql = "UPDATE projects SET lease_token = NULL, lease_until = 0, running_build = NULL,
            superseded = superseded + ?3, attempts = attempts + ?4,
            ready_at = CASE WHEN wanted = ?6 THEN ?5 ELSE ready_at END
        WHERE id = ?1 AND lease_token = ?2";
    let parameters = params![claim.project.as_str(), claim.token, back.superseded, back.attempts, back.ready_at, sql_revision(claim.revision)];
    Ok(c.prepare_cached(sql)?.execute(parameters)? > 0)
}

fn finish_for_good(c: &Connection, claim: &Claim, record: &BuildRecord, now: i64) -> Result<bool, StateError> {
    let sql = "UPDATE projects SET lease_token = NULL, lease_until = 0, running_build = NULL,
            finished = max(finished, :revision), attempts = 0, superseded = 0,
            queued_at = CASE WHEN wanted > :revision THEN accepted_at ELSE queued_at END,
            clean = CASE WHEN wanted = :revision THEN 0 ELSE clean END,
            last_build = :build, last_outcome = :outcome,
            live_build = CASE WHEN :live THEN :build ELSE live_build END,
            live_revision = CASE WHEN :live THEN :revision ELSE live_revision END,
            published_at = CASE WHEN :live THEN :now ELSE published_at END
        WHERE id = :id AND lease_token = :token";
    let live = record.outcome == Some(Outcome::Succeeded);
    let changed = c.prepare_cached(sql)?.execute(named_params! {
        ":id": claim.project.as_str(), ":token": claim.token, ":revision": sql_revision(claim.revision),
        ":build": record.build_id.to_string(), ":outcome": record.outcome.map(Outcome::as_str), ":live": live, ":now": now,
    })?;
    if changed > 0 && live {
        c.prepare_cached("UPDATE builds SET retained = 1 WHERE id = ?1")?.execute([record.build_id.to_string()])?;
    }
    Ok(changed > 0)
}

fn insert_build(c: &Connection, project: &ProjectId, record: &BuildRecord) -> Result<(), StateError> {
    c.prepare_cached("INSERT INTO builds (id, project_id, record) VALUES (?1, ?2, ?3)")?.execute(params![
        record.build_id.to_string(),
        project.as_str(),
        to_json(record)?
    ])?;
    Ok(())
}

fn save_build(c: &Connection, record: &BuildRecord) -> Result<(), StateError> {
    c.prepare_cached("UPDATE builds SET record = ?2 WHERE id = ?1")?.execute(params![record.build_id.to_string(), to_json(record)?])?;
    Ok(())
}

fn to_json(record: &BuildRecord) -> Result<String, StateError> {
    serde_json::to_string(record).map_err(|e| StateError::Decode(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ContentHash, Priority};
    use crate::state::{Accept, Accepted};

    const LEASE: i64 = 1_000;
    const PATIENCE: i64 = 30_000;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        (dir, store)
    }

    fn accept(project: &str, content: &str, priority: Priority, now: i64) -> Accept {
        let project = project.parse().expect("id");
        Accept { project, tree: ContentHash::of(content), force: false, clean: false, priority, sync_ms: 1, now, max_pending: 2 }
    }

    async fn accepted(store: &Store, project: &str, content: &str, now: i64) -> Accepted {
        store.accept(accept(project, content, Priority::Interactive, now)).await.expect("accept")
    }

    async fn claim(store: &Store, now: i64) -> Option<Claim> {
        let build = BuildId::from_parts(now.unsigned_abs(), rand::random());
        store.claim(build, format!("token-{build}"), now, LEASE, PATIENCE).await.expect("claim")
    }

    fn done(claim: &Claim, outcome: Outcome) -> Finish {
        let mut record = BuildRecord::begun(claim.build, claim.revision, jiff::Timestamp::UNIX_EPOCH);
        record.outcome = Some(outcome);
        Finish::Done(record)
    }

    #[tokio::test]
    async fn a_burst_is_one_build_of_the_newest() {
        let (_dir, store) = store();
        for n in 0..100 {
            accepted(&store, "a", &n.to_string(), n).await;
        }
        assert_eq!(accepted(&store, "a", "99", 100).await, Accepted::Unchanged { revision: Revision(100), pending: true });
        let first = claim(&store, 200).await.expect("claim");
        assert_eq!(first.revision, Revision(100));
        assert!(claim(&store, 201).await.is_none(), "one build per project at a time");
        assert_eq!(accepted(&store, "a", "new", 202).await, Accepted::Building(Revision(101)));
        assert!(store.finish(&first, done(&first, Outcome::Succeeded), 300).await.expect("finish"));
        let row = store.project("a".parse().expect("id")).await.expect("read").expect("row");
        assert_eq!((row.live_revision, row.finished, row.wanted), (Revision(100), Revision(100), Revision(101)));
        assert_eq!(claim(&store, 301).await.expect("follow-up").revision, Revision(101));
    }

    #[tokio::test]
    async fn a_stale_finish_changes_nothing() {
        let (_dir, store) = store();
        accepted(&store, "a", "1", 0).await;
        let lost = claim(&store, 10).await.expect("claim");
        let again = claim(&store, 10 + LEASE).await.expect("the lease ran out");
        assert!(!store.finish(&lost, done(&lost, Outcome::Failed), 2_000).await.expect("finish"));
        assert!(!store.renew(&lost, 9_000).await.expect("renew"));
        assert!(store.renew(&again, 9_000).await.expect("renew"));
        let row = store.project("a".parse().expect("id")).await.expect("read").expect("row");
        assert_eq!((row.finished, row.last_outcome), (Revision(0), None));
    }

    #[tokio::test]
    async fn a_project_that_is_edited_without_end_does_not_stay_first() {
        let (_dir, store) = store();
        accepted(&store, "busy", "1", 0).await;
        let first = claim(&store, 10).await.expect("claim");
        accepted(&store, "other", "1", 50).await;
        accepted(&store, "busy", "2", 100).await;
        store.finish(&first, done(&first, Outcome::Succeeded), 110).await.expect("finish");
        assert_eq!(claim(&store, 120).await.expect("claim").project.as_str(), "other");
    }

    #[tokio::test]
    async fn interactive_goes_first_but_never_starves_background() {
        let (_dir, store) = store();
        store.accept(accept("back", "1", Priority::Background, 0)).await.expect("accept");
        accepted(&store, "front", "1", 5).await;
        assert_eq!(claim(&store, 10).await.expect("claim").project.as_str(), "front");
        accepted(&store, "later", "1", 20).await;
        assert_eq!(claim(&store, PATIENCE + 10).await.expect("claim").project.as_str(), "back");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_but_a_waiting_project_may_move_on() {
        let (_dir, store) = store();
        accepted(&store, "a", "1", 0).await;
        accepted(&store, "b", "1", 0).await;
        assert_eq!(accepted(&store, "c", "1", 0).await, Accepted::QueueFull { pending: 2 });
        assert_eq!(accepted(&store, "a", "2", 0).await, Accepted::Building(Revision(2)));
        claim(&store, 1).await.expect("claim");
        assert_eq!(accepted(&store, "c", "1", 2).await, Accepted::Building(Revision(1)));
    }

    #[tokio::test]
    async fn a_crash_leaves_work_to_be_taken_up() {
        let (_dir, store) = store();
        accepted(&store, "a", "1", 0).await;
        let lost = claim(&store, 10).await.expect("claim");
        assert_eq!(store.take_up_after_crash(jiff::Timestamp::UNIX_EPOCH).await.expect("recover"), std::slice::from_ref(&lost.project));
        let build = store.build(lost.project.clone(), lost.build).await.expect("read").expect("build");
        assert_eq!(build.record.outcome, Some(Outcome::Cancelled));
        assert_eq!(claim(&store, 11).await.expect("again").revision, Revision(1));
    }

    #[tokio::test]
    async fn a_retry_waits_and_is_counted() {
        let (_dir, store) = store();
        accepted(&store, "a", "1", 0).await;
        let first = claim(&store, 10).await.expect("claim");
        let record = BuildRecord::begun(first.build, first.revision, jiff::Timestamp::UNIX_EPOCH);
        store.finish(&first, Finish::Retry { record, ready_at: 500 }, 20).await.expect("finish");
        assert!(claim(&store, 499).await.is_none());
        assert_eq!(store.next_ready(20).await.expect("read"), Some(500));
        assert_eq!(claim(&store, 500).await.expect("again").attempts, 1);
    }
}
