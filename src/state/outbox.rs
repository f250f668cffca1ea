//! Outgoing webhooks that are still to be delivered, and where a project's go.
//!
//! Invariant: a webhook is written in the transaction that makes true what it tells, so a crash loses neither; it leaves only
//! once it was taken or given up, so it may come twice and is never forgotten.

use std::fmt;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::projects::{ProjectRow, Snapshot, snapshot_of};
use super::rows::parse;
use super::{StateError, Store};
use crate::domain::ProjectId;

/// Makes a webhook's body from how a project stands.
type Compose = Arc<dyn Fn(Snapshot) -> String + Send + Sync>;

/// How and where something is to be told to others.
#[derive(Clone)]
pub struct Announce {
    /// `notify.urls`: told of every project.
    pub urls: Arc<[String]>,
    /// The body: the status object.
    pub compose: Compose,
}

impl fmt::Debug for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Announce {{ {} urls }}", self.urls.len())
    }
}

/// What a webhook tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A build ended for good.
    Build,
    /// A browser looked at a release.
    Render,
}

impl Occasion {
    fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Render => "render",
        }
    }
}

/// A webhook to be delivered.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its number: the same with every try, and never another's.
    pub id: i64,
    /// Of which project it tells.
    pub project: ProjectId,
    /// Where to.
    pub url: String,
    /// `build` or `render`.
    pub event: String,
    /// JSON.
    pub body: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Tries that failed.
    pub attempts: u32,
}

/// Writes down what is to be told of a project, where anybody wants to know. In the transaction of what happened.
pub(super) fn announce(c: &Connection, project: &ProjectId, what: Occasion, announce: &Announce, now: i64) -> Result<(), StateError> {
    let mut urls: Vec<String> = announce.urls.to_vec();
    urls.extend(targets(c, project)?);
    urls.sort_unstable();
    urls.dedup();
    if urls.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT {} FROM projects WHERE id = ?1", ProjectRow::COLUMNS);
    let Some(row) = c.prepare_cached(&sql)?.query_row([project.as_str()], ProjectRow::read).optional()? else { return Ok(()) };
    let body = (announce.compose)(snapshot_of(c, row)?);
    let mut insert = c.prepare_cached(
        "INSERT INTO outbox (project_id, url, event, body, created_at, next_at) VALUES (:project, :url, :event, :body, :now, :now)",
    )?;
    for url in urls {
        insert.execute(named_params! { ":project": project.as_str(), ":url": url, ":event": what.as_str(), ":body": body, ":now": now })?;
    }
    Ok(())
}

impl Store {
    /// What is due, the oldest first: for each address `each` at most, since one that takes its time must not keep the others.
    pub async fn outgoing(&self, now: i64, each: u32, limit: u32) -> Result<Vec<Outgoing>, StateError> {
        self.read(move |c| {
            let sql = "SELECT id, project_id, url, event, body, created_at, attempts FROM (
                    SELECT *, row_number() OVER (PARTITION BY url ORDER BY id) AS place FROM outbox WHERE next_at <= :now)
                WHERE place <= :each ORDER BY place, id LIMIT :limit";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(named_params! { ":now": now, ":each": each, ":limit": limit }, read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the next one is due that is not yet, ms since 1970.
    pub async fn next_outgoing(&self, now: i64) -> Result<Option<i64>, StateError> {
        self.read(move |c| Ok(c.prepare_cached("SELECT min(next_at) FROM outbox WHERE next_at > ?1")?.query_row([now], |row| row.get(0))?)).await
    }

    /// How many are still to be delivered.
    pub async fn outgoing_count(&self) -> Result<u64, StateError> {
        self.read(|c| Ok(c.prepare_cached("SELECT count(*) FROM outbox")?.query_row([], |row| row.get(0)).map(i64::unsigned_abs)?)).await
    }

    /// One was taken, or is given up.
    pub async fn outgoing_done(&self, id: i64) -> Result<(), StateError> {
        self.write(move |c| Ok(c.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id]).map(drop)?)).await
    }

    /// One was not taken: again, not before `next_at`.
    pub async fn outgoing_again(&self, id: i64, next_at: i64) -> Result<(), StateError> {
        self.write(move |c| {
            let sql = "UPDATE outbox SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1";
            Ok(c.prepare_cached(sql)?.execute(params![id, next_at]).map(drop)?)
        })
        .await
    }

    /// Gives up the oldest of each project that has more than `max` waiting. How many.
    pub async fn prune_outgoing(&self, max: u32) -> Result<usize, StateError> {
        self.write(move |c| {
            let sql = "DELETE FROM outbox WHERE id IN (
                SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY project_id ORDER BY id DESC) AS place FROM outbox) WHERE place > ?1)";
            Ok(c.prepare_cached(sql)?.execute([max])?)
        })
        .await
    }

    /// Where a project's webhooks go, besides `notify.urls`.
    pub async fn notify_targets(&self, project: ProjectId) -> Result<Vec<String>, StateError> {
        self.read(move |c| targets(c, &project)).await
    }

    /// Sets where they go; what waits for an address that is in neither list is given up. The project is registered where it is new.
    pub async fn set_notify_targets(&self, project: ProjectId, urls: Vec<String>, everywhere: Arc<[String]>, now: i64) -> Result<(), StateError> {
        self.write(move |c| {
            super::projects::insert_project(c, &project, now)?;
            let text = serde_json::to_string(&urls).map_err(|e| StateError::Decode(e.to_string()))?;
            let sql = "INSERT INTO notify_targets (project_id, urls) VALUES (?1, ?2) ON CONFLICT (project_id) DO UPDATE SET urls = ?2";
            c.prepare_cached(sql)?.execute(params![project.as_str(), text])?;
            let kept: Vec<&String> = urls.iter().chain(everywhere.iter()).collect();
            let kept = serde_json::to_string(&kept).map_err(|e| StateError::Decode(e.to_string()))?;
            let sql = "DELETE FROM outbox WHERE project_id = ?1 AND url NOT IN (SELECT value FROM json_each(?2))";
            c.prepare_cached(sql)?.execute(params![project.as_str(), kept])?;
            Ok(())
        })
        .await
    }
}

fn targets(c: &Connection, project: &ProjectId) -> Result<Vec<String>, StateError> {
    let mut statement = c.prepare_cached("SELECT urls FROM notify_targets WHERE project_id = ?1")?;
    let text: Option<String> = statement.query_row([project.as_str()], |row| row.get(0)).optional()?;
    text.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text).map_err(|e| StateError::Decode(e.to_string())))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    Ok(Outgoing {
        id: row.get(0)?,
        project: parse(row, 1)?,
        url: row.get(2)?,
        event: row.get(3)?,
        body: row.get(4)?,
        created_at: row.get(5)?,
        attempts: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BuildId, BuildRecord, ContentHash, Outcome, Priority};
    use crate::state::{Accept, Finish};

    fn announce_to(urls: &[&str]) -> Announce {
        let compose: Compose = Arc::new(|snapshot| format!("{} {}", snapshot.row.id, snapshot.row.finished));
        Announce { urls: urls.iter().map(|url| (*url).to_owned()).collect(), compose }
    }

    async fn build(store: &Store, n: u64, announce: &Announce, ours: bool) -> bool {
        let project: ProjectId = "demo".parse().expect("id");
        let (tree, priority) = (ContentHash::of(n.to_le_bytes()), Priority::Interactive);
        store.accept(Accept { project, tree, force: true, clean: false, priority, sync_ms: 0, now: 0, max_pending: 9 }).await.expect("accept");
        let mut claim = store.claim(BuildId::from_parts(n, 0), "t".into(), 1, 1000, 0).await.expect("claim").expect("it waits");
        let mut record = BuildRecord::begun(claim.build, claim.revision, jiff::Timestamp::UNIX_EPOCH);
        record.outcome = Some(Outcome::Succeeded);
        if !ours {
            claim.token.push('x');
        }
        store.finish_and_announce(&claim, Finish::Done(record), 5, Some(announce.clone())).await.expect("finish")
    }

    #[tokio::test]
    async fn a_webhook_is_written_with_what_it_tells_and_leaves_when_it_is_taken() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let project: ProjectId = "demo".parse().expect("id");
        store.set_notify_targets(project.clone(), vec!["b".into(), "a".into()], Arc::from([]), 0).await.expect("set");
        assert!(build(&store, 1, &announce_to(&["a"]), true).await);
        let due = store.outgoing(10, 4, 9).await.expect("read");
        let told: Vec<_> = due.iter().map(|o| (o.url.as_str(), o.body.as_str(), o.event.as_str())).collect();
        assert_eq!(told, [("a", "demo 1", "build"), ("b", "demo 1", "build")], "each address once");
        assert!(store.outgoing(4, 4, 9).await.expect("read").is_empty(), "not before its time");

        store.outgoing_again(due[0].id, 50).await.expect("again");
        store.outgoing_done(due[1].id).await.expect("done");
        assert!(store.outgoing(10, 4, 9).await.expect("read").is_empty());
        assert_eq!(store.next_outgoing(10).await.expect("read"), Some(50));
        assert_eq!(store.outgoing(50, 4, 9).await.expect("read")[0].attempts, 1);
    }

    #[tokio::test]
    async fn a_verdict_is_told_too_once() {
        use crate::domain::status::{RenderReport, Verdict, Witness};
        use crate::state::NotedRender::{Known, Taken, UnknownBuild};
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        build(&store, 1, &announce_to(&[]), true).await;
        let report = |build: u64| RenderReport {
            build_id: BuildId::from_parts(build, 0),
            verdict: Verdict::Empty,
            detail: None,
            by: Witness::Visitor,
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        for (n, expected) in [(1, Taken), (1, Known), (2, UnknownBuild)] {
            assert_eq!(store.note_render("demo".parse().expect("id"), report(n), announce_to(&["a"])).await.expect("note"), expected);
        }
        let due = store.outgoing(10, 4, 9).await.expect("read");
        assert_eq!(due.iter().map(|o| o.event.as_str()).collect::<Vec<_>>(), ["render"]);
    }

    #[tokio::test]
    async fn a_finish_that_is_not_ours_tells_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        assert!(!build(&store, 1, &announce_to(&["a"]), false).await);
        assert_eq!(store.outgoing_count().await.expect("count"), 0);
    }

    #[tokio::test]
    async fn one_address_does_not_keep_the_others_and_old_ones_give_way() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        for n in 1..=5 {
            build(&store, n, &announce_to(if n == 5 { &["dead", "quick"] } else { &["dead"] }), true).await;
        }
        let due: Vec<String> = store.outgoing(10, 2, 9).await.expect("read").into_iter().map(|o| o.url).collect();
        assert_eq!(due, ["dead", "quick", "dead"]);
        assert_eq!(store.prune_outgoing(4).await.expect("prune"), 2);
        let left: Vec<i64> = store.outgoing(10, 9, 9).await.expect("read").into_iter().map(|o| o.id).collect();
        assert_eq!(left.len(), 4);
        assert!(!left.contains(&1) && !left.contains(&2), "{left:?}");
        store.set_notify_targets("demo".parse().expect("id"), Vec::new(), Arc::from(["quick".to_owned()]), 0).await.expect("set");
        assert_eq!(store.outgoing_count().await.expect("count"), 1, "nobody wants the others any more");
    }
}
