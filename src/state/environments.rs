//! What a project's builds are given besides its sources: variables, and where the app is.
//!
//! Invariant: a change is a new revision in the same transaction, so it is built; the same again changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::projects::{insert_project, pending};
use super::rows::revision;
use super::{Accepted, StateError, Store};
use crate::domain::{ProjectId, Revision};

/// A project's. Values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Variables by name.
    pub vars: BTreeMap<String, String>,
    /// The app's folder, relative to the project; `""` is its top. `None`: it is looked for.
    pub root: Option<String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("names", &self.vars.keys()).field("root", &self.root).finish()
    }
}

impl Store {
    /// A project's; empty where nothing was set.
    pub async fn environment(&self, project: ProjectId) -> Result<Environment, StateError> {
        self.read(move |c| environment_of(c, &project)).await
    }

    /// Sets a project's, whole. Where it differs from what was, and the project has sources, that is a new revision. A project that
    /// is new is registered: what its first build needs may come before its files.
    pub async fn set_environment(&self, project: ProjectId, new: Environment, now: i64, max_pending: u32) -> Result<Accepted, StateError> {
        self.write(move |c| {
            insert_project(c, &project, now)?;
            let (wanted, waits): (Revision, bool) = c
                .prepare_cached("SELECT wanted, wanted > finished FROM projects WHERE id = ?1")?
                .query_row([project.as_str()], |row| Ok((revision(row, 0)?, row.get(1)?)))?;
            let builds = wanted > Revision(0);
            if environment_of(c, &project)? == new {
                return Ok(Accepted::Unchanged { revision: wanted, pending: waits });
            }
            let counts = pending(c)?;
            let pending = counts.interactive + counts.background;
            if builds && !waits && pending >= max_pending {
                return Ok(Accepted::QueueFull { pending });
            }
            save(c, &project, &new)?;
            if !builds {
                return Ok(Accepted::Unchanged { revision: wanted, pending: false });
            }
            let sql = "UPDATE projects SET wanted = wanted + 1, sync_ms = 0, priority = 'interactive',
                    queued_at = CASE WHEN wanted > finished THEN queued_at ELSE :now END, accepted_at = :now, ready_at = 0, attempts = 0
                WHERE id = :id RETURNING wanted";
            let wanted = c.prepare_cached(sql)?.query_row(named_params! { ":id": project.as_str(), ":now": now }, |row| revision(row, 0))?;
            Ok(Accepted::Building(wanted))
        })
        .await
    }
}

fn environment_of(c: &Connection, project: &ProjectId) -> Result<Environment, StateError> {
    let mut statement = c.prepare_cached("SELECT vars, root FROM environments WHERE project_id = ?1")?;
    let row: Option<(String, Option<String>)> = statement.query_row([project.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((vars, root)) = row else { return Ok(Environment::default()) };
    // Without the error's own text: it may repeat a value.
    let vars = serde_json::from_str(&vars).map_err(|_| StateError::Decode("the variables of a project".into()))?;
    Ok(Environment { vars, root })
}

fn save(c: &Connection, project: &ProjectId, new: &Environment) -> Result<(), StateError> {
    let vars = serde_json::to_string(&new.vars).map_err(|_| StateError::Decode("the variables of a project".into()))?;
    let sql = "INSERT INTO environments (project_id, vars, root) VALUES (?1, ?2, ?3) ON CONFLICT (project_id) DO UPDATE SET vars = ?2, root = ?3";
    c.prepare_cached(sql)?.execute(params![project.as_str(), vars, new.root])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ContentHash, Priority};
    use crate::state::Accept;

    #[tokio::test]
    async fn a_change_is_a_new_revision_once_there_are_sources() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let project: ProjectId = "demo".parse().expect("id");
        let env = |value: &str, root: Option<&str>| Environment {
            vars: BTreeMap::from([("VITE_A".to_owned(), value.to_owned())]),
            root: root.map(str::to_owned),
        };
        let set = async |env: Environment, max| store.set_environment(project.clone(), env, 1, max).await.expect("set");
        assert_eq!(set(env("1", None), 9).await, Accepted::Unchanged { revision: Revision(0), pending: false }, "nothing to build yet");
        assert_eq!(store.environment(project.clone()).await.expect("read"), env("1", None));
        let (tree, priority) = (ContentHash::of("x"), Priority::Background);
        let accept = Accept { project: project.clone(), tree, force: false, clean: false, priority, sync_ms: 7, now: 0, max_pending: 9 };
        assert_eq!(store.accept(accept.clone()).await.expect("accept"), Accepted::Building(Revision(1)));
        assert_eq!(set(env("1", None), 9).await, Accepted::Unchanged { revision: Revision(1), pending: true }, "the same again");
        assert_eq!(set(env("2", None), 9).await, Accepted::Building(Revision(2)));
        assert_eq!(set(env("2", Some("apps/web")), 9).await, Accepted::Building(Revision(3)));
        assert_eq!(
            store.accept(accept).await.expect("accept"),
            Accepted::Unchanged { revision: Revision(3), pending: true },
            "the sources are the same"
        );
        let shown = format!("{:?}", env("hidden", None));
        assert!(shown.contains("VITE_A") && !shown.contains("hidden"), "{shown}");
    }

    #[tokio::test]
    async fn a_full_queue_takes_nothing_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&dir.path().join("state.db")).expect("open");
        let project: ProjectId = "demo".parse().expect("id");
        let accept = |id: &str| Accept {
            project: id.parse().expect("id"),
            tree: ContentHash::of("x"),
            force: true,
            clean: false,
            priority: Priority::Interactive,
            sync_ms: 0,
            now: 0,
            max_pending: 9,
        };
        store.accept(accept("demo")).await.expect("accept");
        let claim = store.claim(crate::domain::BuildId::from_parts(1, 0), "t".into(), 1, 1000, 0).await.expect("claim").expect("it waits");
        let mut record = crate::domain::BuildRecord::begun(claim.build, claim.revision, jiff::Timestamp::UNIX_EPOCH);
        record.outcome = Some(crate::domain::Outcome::Succeeded);
        store.finish(&claim, crate::state::Finish::Done(record), 2).await.expect("finish");
        store.accept(accept("other")).await.expect("accept");
        let new = Environment { root: Some("app".into()), ..Environment::default() };
        assert_eq!(store.set_environment(project.clone(), new, 1, 1).await.expect("set"), Accepted::QueueFull { pending: 1 });
        assert_eq!(store.environment(project).await.expect("read"), Environment::default());
    }
}
