//! The sign of life of the queue's loop, for the watchdog.
//!
//! Invariant: it beats only where the loop waits for what may take any time (a free place, new work). While it waits for
//! the state store it does not: a store that hangs silences it.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// At the longest between two beats of a loop that waits.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// When the loop last turned.
#[derive(Debug)]
pub(super) struct Heartbeat {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Heartbeat {
    /// Time since the last beat.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Waits for `what`, beating.
    pub(super) async fn beating<T>(&self, what: impl Future<Output = T>) -> T {
        self.beating_every(HEARTBEAT_EVERY, what).await
    }

    async fn beating_every<T>(&self, every: Duration, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            self.beat();
            if let Ok(done) = timeout(every, &mut what).await {
                self.beat();
                return done;
            }
        }
    }

    fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Many beats, and many times what a busy machine is late.
    const LONG: Duration = Duration::from_millis(600);
    const OFTEN: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn it_beats_while_it_waits_and_not_otherwise() {
        let heartbeat = Heartbeat::default();
        let waiting = heartbeat.beating_every(OFTEN, sleep(LONG));
        let looking = async {
            sleep(LONG / 2).await;
            heartbeat.age()
        };
        let ((), age) = tokio::join!(waiting, looking);
        assert!(age < LONG / 2, "{age:?}");
        sleep(LONG).await;
        assert!(heartbeat.age() >= LONG, "{:?}", heartbeat.age());
    }
}
