//! The circuit breaker around a source: who goes through, who waits a moment, who is refused; and the task that asks whether the source is back.
//!
//! Probes are made by a task of our own and not by the next caller, so that metrics and health tell the truth without traffic, and nobody's sync
//! is the one that has to find out.
//!
//! Invariant: while the circuit is not closed the only request to the source is that task's probe, one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::SourceError;
use super::circuit::{Circuit, CircuitState, Outcome, Policy, Round, Turn};

/// A store far away. Few enough that callers soon stop waiting for it, and more than one project's bad luck.
pub(super) const REMOTE: Policy = Policy { opens_after: 5, pause_first: Duration::from_secs(1), pause_max: Duration::from_secs(30) };
/// A directory. Asking costs nothing and fails at once, so one that is mounted again is noticed at once.
pub(super) const LOCAL: Policy = Policy { opens_after: 5, pause_first: Duration::from_millis(50), pause_max: Duration::from_millis(200) };
/// How long a call may wait for a probe that is under way or about to be made, before it is refused.
const PATIENCE: Duration = Duration::from_millis(300);

/// How the circuit is, for people.
#[derive(Debug, Clone)]
pub struct CircuitReport {
    /// Closed, half-open or open.
    pub state: CircuitState,
    /// Since when it is closed, or is not: a probe in between does not count.
    pub since: Timestamp,
    /// Why the source could not be reached the last time, where it is not closed.
    pub why: Option<String>,
    /// Until the next probe.
    pub retry_after: Duration,
}

#[derive(Debug)]
pub(super) struct Breaker {
    inner: Mutex<Inner>,
    /// Says that the state has changed.
    changed: watch::Sender<()>,
    gauge: IntGauge,
}

#[derive(Debug)]
struct Inner {
    circuit: Circuit,
    since: Timestamp,
    why: String,
    prober: Option<JoinHandle<()>>,
}

impl Breaker {
    pub(super) fn new(policy: Policy, gauge: IntGauge) -> Self {
        let inner = Inner { circuit: Circuit::new(policy), since: Timestamp::now(), why: String::new(), prober: None };
        gauge.set(CircuitState::Closed as i64);
        Self { inner: Mutex::new(inner), changed: watch::Sender::new(()), gauge }
    }

    /// Lets a call through, or refuses it within [`PATIENCE`].
    pub(super) async fn admit(&self) -> Result<Round, SourceError> {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.changed.subscribe();
        loop {
            // Marked before looking: a change in between is heard.
            changes.borrow_and_update();
            let refused = match self.try_admit(Instant::now()) {
                Ok(round) => return Ok(round),
                Err(refused) => refused,
            };
            let hopeless = Instant::now() + refused.retry_after > deadline;
            if hopeless || timeout_at(deadline.into(), changes.changed()).await.is_err() {
                return Err(SourceError::Resting { retry_after: refused.retry_after, why: refused.why });
            }
        }
    }

    fn try_admit(&self, now: Instant) -> Result<Round, Refused> {
        let inner = self.lock();
        inner.circuit.admit(now).map_err(|retry_after| Refused { retry_after, why: inner.why.clone() })
    }

    /// Takes in how a call went that was let through.
    pub(super) fn call_ended<T>(&self, round: Round, result: &Result<T, SourceError>) {
        self.change(result.as_ref().err(), |circuit, outcome, now, jitter| circuit.call_ended(round, outcome, now, jitter));
    }

    /// Takes in how the probe went.
    pub(super) fn probe_ended(&self, result: &Result<(), SourceError>) {
        self.change(result.as_ref().err(), Circuit::probe_ended);
    }

    /// What the probing task has to do now.
    pub(super) fn turn(&self) -> Turn {
        let mut inner = self.lock();
        let turn = inner.circuit.turn(Instant::now());
        self.gauge.set(inner.circuit.state() as i64);
        turn
    }

    /// Starts the probing task where one is needed and none runs.
    pub(super) fn keep_probing(&self, start: impl FnOnce() -> JoinHandle<()>) {
        let mut inner = self.lock();
        // A task is lost with the runtime that it was started on.
        if inner.circuit.state() != CircuitState::Closed && inner.prober.as_ref().is_none_or(JoinHandle::is_finished) {
            inner.prober = Some(start());
        }
    }

    pub(super) fn report(&self) -> CircuitReport {
        let inner = self.lock();
        let state = inner.circuit.state();
        let retry_after = inner.circuit.admit(Instant::now()).err().unwrap_or_default();
        CircuitReport { state, since: inner.since, why: (state != CircuitState::Closed).then(|| inner.why.clone()), retry_after }
    }

    fn change(&self, error: Option<&SourceError>, apply: impl FnOnce(&mut Circuit, Outcome, Instant, f64)) {
        let mut inner = self.lock();
        let was_closed = inner.circuit.state() == CircuitState::Closed;
        apply(&mut inner.circuit, error.map_or(Outcome::Reached, outcome), Instant::now(), rand::random_range(0.0..=1.0));
        let state = inner.circuit.state();
        if let (Some(SourceError::Unavailable(why)), false) = (error, state == CircuitState::Closed) {
            inner.why.clone_from(why);
        }
        if was_closed != (state == CircuitState::Closed) {
            inner.since = Timestamp::now();
            if state == CircuitState::Closed {
                tracing::info!("the source answers again");
            } else {
                tracing::error!(why = inner.why, "the source does not answer: no call goes to it until a probe does");
            }
        }
        self.gauge.set(state as i64);
        drop(inner);
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if let Some(prober) = self.lock().prober.take() {
            prober.abort();
        }
    }
}

/// A call that does not go through now.
#[derive(Debug)]
struct Refused {
    retry_after: Duration,
    why: String,
}

/// What an error says about the source as a whole. Whatever it answers, it is there.
fn outcome(error: &SourceError) -> Outcome {
    match error {
        SourceError::Unavailable(_) => Outcome::Unavailable,
        SourceError::Denied(_)
        | SourceError::Unreadable(_)
        | SourceError::TooLarge { .. }
        | SourceError::TooManyFiles { .. }
        | SourceError::Corrupt { .. }
        | SourceError::Misconfigured(_) => Outcome::Reached,
        SourceError::Local(_) | SourceError::Resting { .. } => Outcome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(REMOTE, IntGauge::new("state", "state").expect("gauge"))
    }

    async fn call(breaker: &Breaker, result: Result<(), SourceError>) {
        let round = breaker.admit().await.expect("closed");
        breaker.call_ended(round, &result);
    }

    #[tokio::test]
    async fn what_one_project_does_wrong_never_opens_it() {
        let breaker = breaker();
        let path = crate::domain::SourcePath::parse("a").expect("path");
        for _ in 0..20 {
            call(&breaker, Err(SourceError::Denied("403".into()))).await;
            call(&breaker, Err(SourceError::Unreadable("EACCES".into()))).await;
            call(&breaker, Err(SourceError::Misconfigured("404".into()))).await;
            call(&breaker, Err(SourceError::TooLarge { path: path.clone(), size: 2, limit: 1 })).await;
            call(&breaker, Err(SourceError::TooManyFiles { limit: 1 })).await;
            call(&breaker, Err(SourceError::Corrupt { path: path.clone(), attempts: 4, detail: "MD5".into() })).await;
            call(&breaker, Err(SourceError::Local(std::io::ErrorKind::StorageFull.into()))).await;
        }
        assert_eq!(breaker.report().state, CircuitState::Closed);
    }

    #[tokio::test]
    async fn who_is_refused_is_told_the_pause_and_who_waits_for_a_probe_goes_on_with_it() {
        let breaker = breaker();
        for _ in 0..REMOTE.opens_after {
            call(&breaker, Err(SourceError::Unavailable("no route".into()))).await;
        }
        let begun = Instant::now();
        let Err(SourceError::Resting { retry_after, why }) = breaker.admit().await else { panic!("it is open") };
        assert!(begun.elapsed() < PATIENCE, "at once");
        assert!(retry_after <= REMOTE.pause_first && retry_after > REMOTE.pause_first / 3 && why == "no route");
        let report = breaker.report();
        assert_eq!((report.state, breaker.gauge.get(), report.why.as_deref()), (CircuitState::Open, 2, Some("no route")));

        let Turn::Wait(until) = breaker.turn() else { panic!("not yet") };
        tokio::time::sleep_until(until.into()).await;
        assert_eq!((breaker.turn(), breaker.gauge.get()), (Turn::Probe, 1));
        let (admitted, ()) = tokio::join!(breaker.admit(), async { breaker.probe_ended(&Ok(())) });
        admitted.expect("it waited for the probe");
        let closed = breaker.report();
        assert_eq!((closed.state, breaker.gauge.get(), closed.why), (CircuitState::Closed, 0, None));
        assert!(closed.since >= report.since);
    }
}
