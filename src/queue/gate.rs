//! Decides between publishing a build and stopping it: exactly one of the two happens.
//!
//! Invariant: once a stop has won, nothing of the build becomes visible; once publishing has won, the
//! build runs to its end and a newer revision gets a build of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::domain::{BuildId, Revision};

/// Why a build is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A newer revision was accepted.
    Superseded,
    /// The daemon ends; the revision is built after the next start.
    Shutdown,
    /// The project is deleted.
    Deleted,
    /// The claim is another's by now: the lease ran out, by a jump of the clock or a long standstill.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Publish,
    Stop(Stop),
}

/// A build that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) build: BuildId,
    pub(super) revision: Revision,
    /// Builds in a row before this one that were superseded.
    pub(super) superseded: u32,
    /// Ends the build's work.
    pub(super) cancel: CancellationToken,
    /// Cancelled when nothing of the build is left to do.
    pub(super) ended: CancellationToken,
    /// Whether it is under way where it takes next to no time: the newest is live sooner by letting it end.
    pub(super) soon_done: AtomicBool,
    decision: OnceLock<Decision>,
}

impl Running {
    pub(super) fn new(build: BuildId, revision: Revision, superseded: u32) -> Self {
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        Self { build, revision, superseded, cancel, ended, soon_done: AtomicBool::new(false), decision: OnceLock::new() }
    }

    /// Claims the right to publish; false where the build was stopped.
    pub(super) fn begin_publish(&self) -> bool {
        *self.decision.get_or_init(|| Decision::Publish) == Decision::Publish
    }

    /// Stops the build, unless it publishes already. Whether it did.
    pub(super) fn stop(&self, why: Stop) -> bool {
        let stopped = matches!(self.decision.get_or_init(|| Decision::Stop(why)), Decision::Stop(_));
        if stopped {
            self.cancel.cancel();
        }
        stopped
    }

    /// Why it was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stop> {
        match self.decision.get() {
            Some(Decision::Stop(why)) => Some(*why),
            _ => None,
        }
    }
}

/// Whether a newer revision should cut a running build short. One in a worker that knows the project is left to end: it takes less than
/// a new worker would. After `max_superseded` in a row one is left to finish, so that a stream of edits still publishes.
pub(super) fn should_supersede(running: &Running, newest: Revision, max_superseded: u32) -> bool {
    running.revision < newest && running.superseded < max_superseded && !running.soon_done.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(superseded: u32) -> Running {
        Running::new(BuildId::from_parts(0, 0), Revision(3), superseded)
    }

    #[test]
    fn exactly_one_of_publish_and_stop_wins() {
        let first = running(0);
        assert!(first.begin_publish() && !first.stop(Stop::Superseded));
        assert!(!first.cancel.is_cancelled());
        let second = running(0);
        assert!(second.stop(Stop::Superseded) && !second.begin_publish());
        assert!(second.stop(Stop::Shutdown) && second.stopped() == Some(Stop::Superseded), "the first reason stays");
        assert!(second.cancel.is_cancelled());
    }

    #[test]
    fn a_stream_of_edits_is_not_starved() {
        assert!(should_supersede(&running(2), Revision(4), 3));
        assert!(!should_supersede(&running(3), Revision(4), 3));
        assert!(!should_supersede(&running(0), Revision(3), 3));
        let warm = running(0);
        warm.soon_done.store(true, Ordering::Relaxed);
        assert!(!should_supersede(&warm, Revision(4), 3));
    }
}
