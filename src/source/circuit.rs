//! When a source that does not answer is left alone, and when it is asked again: a circuit breaker, as a pure state machine.
//!
//! Closed: every call goes through. After [`Policy::opens_after`] calls in a row that did not reach the source it opens: no call goes through.
//! When its pause is over it is half-open: one probe is made. If that reaches the source it closes; if not it is open again, for twice as long, up
//! to [`Policy::pause_max`]. Pauses have jitter: daemons that lost one source together must not come back together.
//!
//! Invariant: nothing here looks at a clock, makes a random number or waits. Time and chance are passed in.

use std::time::{Duration, Instant};

/// How often, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Calls in a row that did not reach the source. One sync makes one such call at the most, since its first error ends it.
    pub(super) opens_after: u32,
    /// The longest first pause.
    pub(super) pause_first: Duration,
    /// The longest pause of all.
    pub(super) pause_max: Duration,
}

/// Whether calls go through; the numbers are the metric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// They do.
    Closed = 0,
    /// One probe is under way.
    HalfOpen = 1,
    /// None does.
    Open = 2,
}

impl CircuitState {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What a call or a probe says about the source as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered, whatever the answer.
    Reached,
    /// It did not.
    Unavailable,
    /// Nothing: the fault was elsewhere.
    Nothing,
}

/// Which time that it was closed a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round(u64);

/// The state machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circuit {
    policy: Policy,
    phase: Phase,
    round: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant, probes: u32 },
    HalfOpen { probes: u32 },
}

/// What is to be done about a circuit that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: it is closed.
    Closed,
    /// Nothing before this time.
    Wait(Instant),
    /// One probe, now.
    Probe,
}

impl Circuit {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, phase: Phase::Closed { failures: 0 }, round: 0 }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Whether a call goes through; where not, how long until the next probe.
    pub(super) fn admit(&self, now: Instant) -> Result<Round, Duration> {
        match self.phase {
            Phase::Closed { .. } => Ok(Round(self.round)),
            Phase::Open { until, .. } => Err(until.saturating_duration_since(now)),
            Phase::HalfOpen { .. } => Err(Duration::ZERO),
        }
    }

    /// A call that went through has ended. What began before the circuit last opened says nothing about now.
    pub(super) fn call_ended(&mut self, round: Round, outcome: Outcome, now: Instant, jitter: f64) {
        let Phase::Closed { failures } = self.phase else { return };
        if round != Round(self.round) {
            return;
        }
        match outcome {
            Outcome::Nothing => {}
            Outcome::Reached => self.phase = Phase::Closed { failures: 0 },
            Outcome::Unavailable if failures + 1 < self.policy.opens_after => self.phase = Phase::Closed { failures: failures + 1 },
            Outcome::Unavailable => {
                self.round += 1;
                self.open(0, now, jitter);
            }
        }
    }

    /// What whoever makes the probes has to do now. One that was begun and never ended, for its task was lost, is made again.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        match self.phase {
            Phase::Closed { .. } => Turn::Closed,
            Phase::Open { until, .. } if now < until => Turn::Wait(until),
            Phase::Open { probes, .. } | Phase::HalfOpen { probes } => {
                self.phase = Phase::HalfOpen { probes };
                Turn::Probe
            }
        }
    }

    /// The probe has ended. One that says nothing about the source is no reason to trust it.
    pub(super) fn probe_ended(&mut self, outcome: Outcome, now: Instant, jitter: f64) {
        let Phase::HalfOpen { probes } = self.phase else { return };
        match outcome {
            Outcome::Reached => self.phase = Phase::Closed { failures: 0 },
            Outcome::Unavailable | Outcome::Nothing => self.open(probes.saturating_add(1), now, jitter),
        }
    }

    /// `jitter` is a random number from 0 to 1: half of a pause is certain, the rest is chance.
    fn open(&mut self, probes: u32, now: Instant, jitter: f64) {
        let longest = self.policy.pause_first.saturating_mul(2_u32.saturating_pow(probes)).min(self.policy.pause_max);
        let pause = longest.mul_f64(jitter.clamp(0.0, 1.0).midpoint(1.0));
        self.phase = Phase::Open { until: now + pause, probes };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const POLICY: Policy = Policy { opens_after: 3, pause_first: Duration::from_secs(1), pause_max: Duration::from_secs(8) };

    fn fail(circuit: &mut Circuit, now: Instant) {
        let round = circuit.admit(now).expect("closed");
        circuit.call_ended(round, Outcome::Unavailable, now, 1.0);
    }

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(POLICY);
        (0..POLICY.opens_after).for_each(|_| fail(&mut circuit, now));
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        for between in [Outcome::Reached, Outcome::Nothing] {
            let mut circuit = Circuit::new(POLICY);
            fail(&mut circuit, now);
            fail(&mut circuit, now);
            let round = circuit.admit(now).expect("closed");
            circuit.call_ended(round, between, now, 1.0);
            fail(&mut circuit, now);
            let expected = if between == Outcome::Reached { CircuitState::Closed } else { CircuitState::Open };
            assert_eq!(circuit.state(), expected, "{between:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_anew_once_it_was_closed() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        for seconds in [1, 2, 4, 8, 8] {
            let Turn::Wait(until) = circuit.turn(now) else { panic!("{circuit:?}") };
            assert_eq!(until - now, Duration::from_secs(seconds));
            assert_eq!(circuit.admit(now), Err(Duration::from_secs(seconds)));
            now = until;
            assert_eq!(circuit.turn(now), Turn::Probe);
            assert_eq!((circuit.state(), circuit.admit(now)), (CircuitState::HalfOpen, Err(Duration::ZERO)));
            circuit.probe_ended(Outcome::Unavailable, now, 1.0);
        }
        assert!(matches!(circuit.turn(now + POLICY.pause_max), Turn::Probe));
        circuit.probe_ended(Outcome::Reached, now, 1.0);
        assert_eq!((circuit.state(), circuit.turn(now)), (CircuitState::Closed, Turn::Closed));
        (0..POLICY.opens_after).for_each(|_| fail(&mut circuit, now));
        assert_eq!(circuit.admit(now), Err(POLICY.pause_first));
    }

    #[test]
    fn what_began_before_it_opened_says_nothing_about_later() {
        let now = Instant::now();
        let mut circuit = Circuit::new(POLICY);
        let old = circuit.admit(now).expect("closed");
        (0..POLICY.opens_after).for_each(|_| fail(&mut circuit, now));
        circuit.call_ended(old, Outcome::Reached, now, 1.0);
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.turn(now + POLICY.pause_max);
        circuit.probe_ended(Outcome::Reached, now, 1.0);
        (0..10).for_each(|_| circuit.call_ended(old, Outcome::Unavailable, now, 1.0));
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[test]
    fn a_probe_that_says_nothing_does_not_close_it_and_a_lost_one_is_made_again() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + POLICY.pause_max;
        assert_eq!((circuit.turn(later), circuit.turn(later)), (Turn::Probe, Turn::Probe));
        circuit.probe_ended(Outcome::Nothing, later, 0.0);
        assert_eq!(circuit.admit(later), Err(POLICY.pause_first), "half of the second pause");
    }
}

#[cfg(test)]
mod proptests;
