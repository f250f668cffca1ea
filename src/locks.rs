//! One lock per project: whoever changes or copies a project's sources holds it.
//!
//! Invariant: it is held for the length of a sync or of a snapshot, never during a build.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::ProjectId;

/// The locks of all projects; one exists only while somebody holds or awaits it.
#[derive(Debug, Default)]
pub struct ProjectLocks {
    locks: DashMap<ProjectId, Arc<Mutex<()>>>,
}

/// Holds one project's lock.
#[derive(Debug)]
pub struct ProjectGuard<'a> {
    locks: &'a ProjectLocks,
    project: ProjectId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl ProjectLocks {
    /// Waits for the project's lock; waiters are served in order.
    pub async fn lock(&self, project: &ProjectId) -> ProjectGuard<'_> {
        let lock = self.locks.entry(project.clone()).or_default().clone();
        let guard = Some(lock.lock_owned().await);
        ProjectGuard { locks: self, project: project.clone(), guard }
    }
}

impl Drop for ProjectGuard<'_> {
    fn drop(&mut self) {
        self.guard = None;
        // Only the map holds it: nobody waits. The entry's shard is locked during the check.
        self.locks.locks.remove_if(&self.project, |_, lock| Arc::strong_count(lock) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_project_waits_another_does_not_and_nothing_is_left() {
        let locks = ProjectLocks::default();
        let (a, b) = ("a".parse().expect("id"), "b".parse().expect("id"));
        let held = locks.lock(&a).await;
        let _other = locks.lock(&b).await;
        let waiter = locks.lock(&a);
        futures::pin_mut!(waiter);
        assert!(futures::poll!(&mut waiter).is_pending());
        drop(held);
        drop(waiter.await);
        assert_eq!(locks.locks.len(), 1, "only b's is left");
    }
}
