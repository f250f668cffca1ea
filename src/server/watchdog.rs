//! Tells systemd that the daemon is alive, as long as it is: the queue's loop turns and the state store answers.
//!
//! Invariant: no sign of life without a look. A process that runs but does nothing is restarted (`WatchdogSec=`).

use std::time::Duration;

use sd_notify::NotifyState;

use super::notify;
use crate::app::App;
use crate::state::StateError;

/// The queue's loop beats every few seconds while it waits (`queue::HEARTBEAT_EVERY`); in between it only asks the store.
const QUEUE_SILENCE_MAX: Duration = Duration::from_secs(30);
/// A trivial write and a trivial read, behind whatever else waits for the disk.
const STORE_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Looks in one period of the watchdog, so that a slow one is no death.
const LOOKS: u32 = 4;

/// What does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stuck {
    Queue(Duration),
    Store(String),
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue(silent) => write!(f, "the queue's loop has not turned for {} s", silent.as_secs()),
            Self::Store(why) => write!(f, "the state store does not answer: {why}"),
        }
    }
}

/// What the looks say. `silent` is `None` while the daemon drains: the loop has ended then, as it should. `store` is `None`
/// where no answer came in time.
fn verdict(silent: Option<Duration>, store: Option<Result<(), StateError>>) -> Result<(), Stuck> {
    match store {
        None => return Err(Stuck::Store(format!("nothing within {} s", STORE_ANSWER_MAX.as_secs()))),
        Some(Err(error)) => return Err(Stuck::Store(error.to_string())),
        Some(Ok(())) => {}
    }
    match silent {
        Some(silent) if silent > QUEUE_SILENCE_MAX => Err(Stuck::Queue(silent)),
        _ => Ok(()),
    }
}

/// Feeds systemd's watchdog until it is dropped; ends at once where there is none.
pub(super) async fn feed(app: &App) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut stuck = false;
    loop {
        let store = tokio::time::timeout(STORE_ANSWER_MAX, app.store.probe()).await.ok();
        let silent = (!app.queue.is_draining()).then(|| app.queue.silent_for());
        let verdict = verdict(silent, store);
        match &verdict {
            Ok(()) => notify(NotifyState::Watchdog),
            Err(why) if !stuck => tracing::error!(%why, "no sign of life is given"),
            Err(_) => {}
        }
        stuck = verdict.is_err();
        tokio::time::sleep(period / LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_to_move() {
        let (moving, still) = (Duration::ZERO, QUEUE_SILENCE_MAX + Duration::from_millis(1));
        assert_eq!(verdict(Some(moving), Some(Ok(()))), Ok(()));
        assert_eq!(verdict(Some(QUEUE_SILENCE_MAX), Some(Ok(()))), Ok(()));
        assert_eq!(verdict(Some(still), Some(Ok(()))), Err(Stuck::Queue(still)));
        assert_eq!(verdict(None, Some(Ok(()))), Ok(()), "draining");
        for store in [None, Some(Err(StateError::Stopped))] {
            assert!(matches!(verdict(Some(moving), store), Err(Stuck::Store(_))));
        }
        assert!(matches!(verdict(None, None), Err(Stuck::Store(_))), "draining needs the store");
    }
}
