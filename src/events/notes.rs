//! What browsers reported of a build: console messages, uncaught errors, failed requests. In memory, for `GET /diagnostics`.
//!
//! Invariant: bounded in every direction: records of a build, builds of a project, projects. The first records of a build are
//! kept, since later ones mostly follow from them; what is said again is counted, not kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ConsoleRecord;
use crate::domain::{BuildId, ProjectId};

/// Different records of one build.
const RECORDS_MAX: usize = 60;
/// Builds that records are kept of, of all projects together: the ones reported of most lately. With records of some 500
/// bytes on average this is 30 MB.
const BUILDS_MAX: usize = 1000;

#[derive(Debug)]
struct OfBuild {
    project: ProjectId,
    build: BuildId,
    records: Vec<ConsoleRecord>,
}

/// What was reported, by build; the latest last.
#[derive(Debug, Default)]
pub struct Notes(Mutex<VecDeque<OfBuild>>);

impl Notes {
    /// Keeps a record. Whether it is a new one: what was said before of this build is only counted.
    pub fn add(&self, project: &ProjectId, record: &ConsoleRecord) -> bool {
        let mut all = self.lock();
        let at = all.iter().rposition(|of| of.build == record.build_id && of.project == *project);
        let of = at.and_then(|at| all.remove(at));
        let mut of = of.unwrap_or_else(|| OfBuild { project: project.clone(), build: record.build_id, records: Vec::new() });
        let known = of.records.iter().position(|known| known.is_like(record));
        match known {
            Some(at) => of.records[at].count = of.records[at].count.saturating_add(record.count),
            None if of.records.len() < RECORDS_MAX => of.records.push(record.clone()),
            None => {}
        }
        if all.len() >= BUILDS_MAX {
            all.pop_front();
        }
        all.push_back(of);
        known.is_none()
    }

    /// What was reported of a build, in the order in which it came.
    pub fn of(&self, project: &ProjectId, build: BuildId) -> Vec<ConsoleRecord> {
        let all = self.lock();
        let of = all.iter().rfind(|of| of.build == build && of.project == *project);
        of.map(|of| of.records.clone()).unwrap_or_default()
    }

    /// Forgets a project that was deleted.
    pub fn forget(&self, project: &ProjectId) {
        self.lock().retain(|of| of.project != *project);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<OfBuild>> {
        // Each change is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
