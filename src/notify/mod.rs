//! Outgoing webhooks: tells whoever is configured how a project stands, whenever a build has ended or a release was looked at.
//!
//! What is to be told is written down in the transaction of what happened (`state::outbox`). This loop delivers it:
//! 1. what is due, a few for each address  2. send (`send.rs`)  3. taken: forgotten; else again later, twice as late each time,
//!    up to an hour; given up after a day
//!
//! Invariant: at least once. What is under way when the daemon stops is sent again by the next one; receivers know it by
//! `X-Previewd-Delivery`.

mod send;
mod target;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::state::{Outgoing, StateError, Store};
use send::Sender;
pub use target::{Rules, TargetError};

/// Deliveries at once, and to one address.
const AT_ONCE_MAX: u32 = 32;
const EACH_MAX: u32 = 4;
/// Before the second try; doubled with each further one, up to the other. Each with some chance in it.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_hours(1);
/// What nobody took for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
/// Waiting webhooks of one project at most: beyond, the oldest are given up.
const WAITING_MAX: u32 = 1000;
/// The longest between two looks: wake-ups are hints.
const POLL_MAX: Duration = Duration::from_secs(30);

/// Delivers webhooks.
#[derive(Debug)]
pub struct Notifier {
    store: Store,
    metrics: Arc<Metrics>,
    rules: Rules,
    sender: Sender,
    wake: Notify,
    /// What is being sent.
    under_way: Mutex<HashSet<i64>>,
}

impl Notifier {
    /// One as configured.
    pub fn new(store: Store, metrics: Arc<Metrics>, config: &Config) -> anyhow::Result<Arc<Self>> {
        let rules = Rules::new(&config.notify);
        let sender = Sender::new(config)?;
        let (wake, under_way) = (Notify::new(), Mutex::default());
        Ok(Arc::new(Self { store, metrics, rules, sender, wake, under_way }))
    }

    /// What a webhook's address has to be.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Says that something may be due.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Delivers until the handle is dropped.
    pub fn start(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(self.clone().drive()))
    }

    async fn drive(self: Arc<Self>) {
        let mut deliveries = JoinSet::new();
        loop {
            // Registered before the look, so that no wake-up in between is lost.
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let pause = match self.begin_due(&mut deliveries).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "webhooks that wait cannot be read");
                    POLL_MAX
                }
            };
            tokio::select! {
                () = woken => {}
                Some(_) = deliveries.join_next() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Begins what is due; how long nothing else will be.
    async fn begin_due(self: &Arc<Self>, deliveries: &mut JoinSet<()>) -> Result<Duration, StateError> {
        let given_up = self.store.prune_outgoing(WAITING_MAX).await?;
        self.count("given_up", given_up as u64);
        let now = Timestamp::now().as_millisecond();
        for outgoing in self.store.outgoing(now, EACH_MAX, AT_ONCE_MAX).await? {
            let new = deliveries.len() < AT_ONCE_MAX as usize && self.lock().insert(outgoing.id);
            if new {
                let this = self.clone();
                deliveries.spawn(async move {
                    this.deliver(&outgoing).await;
                    this.lock().remove(&outgoing.id);
                });
            }
        }
        let next = self.store.next_outgoing(now).await?;
        Ok(next.map_or(POLL_MAX, |at| Duration::from_millis((at - now).max(1).unsigned_abs()).min(POLL_MAX)))
    }

    /// One try, and what comes of it.
    async fn deliver(&self, outgoing: &Outgoing) {
        let tried = match self.rules.check(&outgoing.url) {
            Ok(url) => timeout(send::DELIVERY_TIMEOUT, self.sender.send(url, outgoing)).await.unwrap_or_else(|_| Err("it took too long".into())),
            // The list of hosts has changed since it was written down.
            Err(error) => return self.end(outgoing, "given_up", &error.to_string()).await,
        };
        let now = Timestamp::now().as_millisecond();
        match tried {
            Ok(()) => self.end(outgoing, "delivered", "").await,
            Err(why) if now - outgoing.created_at >= millis(GIVE_UP_AFTER) => self.end(outgoing, "given_up", &why).await,
            Err(why) => {
                let pause = pause_after(outgoing.attempts, rand::random_range(0.5..1.0));
                tracing::info!(project = %outgoing.project, delivery = outgoing.id, tries = outgoing.attempts + 1, %why, "a webhook was not taken; it is sent again");
                self.count("retried", 1);
                if let Err(error) = self.store.outgoing_again(outgoing.id, now + millis(pause)).await {
                    tracing::error!(%error, "that a webhook was not taken could not be written down");
                    // It stays due: not at once.
                    sleep(RETRY_FIRST).await;
                }
            }
        }
    }

    async fn end(&self, outgoing: &Outgoing, result: &str, why: &str) {
        if result == "given_up" {
            tracing::warn!(project = %outgoing.project, delivery = outgoing.id, tries = outgoing.attempts + 1, why, "a webhook is given up");
        }
        self.count(result, 1);
        if let Err(error) = self.store.outgoing_done(outgoing.id).await {
            tracing::error!(%error, "the end of a webhook could not be written down: it will be sent again");
            sleep(RETRY_FIRST).await;
        }
    }

    fn count(&self, result: &str, by: u64) {
        self.metrics.notify.with_label_values(&[result]).inc_by(by);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failed tries before this one; `chance` is 0.5 to 1.
fn pause_after(attempts: u32, chance: f64) -> Duration {
    RETRY_FIRST.saturating_mul(1 << attempts.min(16)).min(RETRY_MAX).mul_f64(chance)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let seconds: Vec<u64> = [0, 1, 5, 11, 12, 99].map(|attempts| pause_after(attempts, 1.0).as_secs()).to_vec();
        assert_eq!(seconds, [2, 4, 64, 3600, 3600, 3600]);
        assert_eq!(pause_after(0, 0.5), Duration::from_secs(1));
    }
}
