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
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { opens_after: 3, pause_first: Duration::from_secs(1), pause_max: Duration::from_secs(8) };

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

    #[derive(Debug, Clone)]
    enum Step {
        Admit,
        End(prop::sample::Index, Outcome),
        Turn,
        ProbeEnd(Outcome),
        Later(Duration),
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, f64)>> {
        let outcome = prop_oneof![2 => Just(Outcome::Unavailable), 1 => Just(Outcome::Reached), 1 => Just(Outcome::Nothing)];
        let step = prop_oneof![
            4 => Just(Step::Admit),
            4 => (any::<prop::sample::Index>(), outcome.clone()).prop_map(|(which, outcome)| Step::End(which, outcome)),
            2 => Just(Step::Turn),
            2 => outcome.prop_map(Step::ProbeEnd),
            2 => (0_u64..5_000).prop_map(|ms| Step::Later(Duration::from_millis(ms))),
        ];
        prop::collection::vec((step, 0.0..=1.0), 0..200)
    }

    proptest! {
        /// Whatever the order of events: it opens after so many failures in a row and not before, a call goes through only while it is closed,
        /// a probe is due only after a pause within its bounds, and only a probe that reached the source closes it.
        #[test]
        fn any_order_of_events_keeps_its_rules(steps in steps()) {
            let (mut now, mut circuit) = (Instant::now(), Circuit::new(POLICY));
            let (mut under_way, mut in_a_row, mut failed_probes): (Vec<Round>, u32, u32) = Default::default();
            for (step, jitter) in steps {
                let (before, round) = (circuit.state(), circuit.round);
                match step {
                    Step::Later(time) => now += time,
                    Step::Admit => {
                        let admitted = circuit.admit(now);
                        prop_assert_eq!(admitted.is_ok(), before == CircuitState::Closed);
                        under_way.extend(admitted);
                    }
                    Step::End(which, outcome) if !under_way.is_empty() => {
                        let call = under_way.swap_remove(which.index(under_way.len()));
                        circuit.call_ended(call, outcome, now, jitter);
                        if before == CircuitState::Closed && call == Round(round) {
                            in_a_row = match outcome { Outcome::Reached => 0, Outcome::Nothing => in_a_row, Outcome::Unavailable => in_a_row + 1 };
                            prop_assert_eq!(circuit.state() == CircuitState::Open, in_a_row == POLICY.opens_after);
                            failed_probes = 0;
                        } else {
                            prop_assert_eq!(circuit.state(), before);
                        }
                    }
                    Step::End(..) => {}
                    Step::Turn => match circuit.turn(now) {
                        Turn::Closed => prop_assert_eq!(before, CircuitState::Closed),
                        Turn::Wait(until) => prop_assert!(before == CircuitState::Open && now < until),
                        Turn::Probe => prop_assert!(before != CircuitState::Closed && circuit.state() == CircuitState::HalfOpen),
                    },
                    Step::ProbeEnd(outcome) => {
                        circuit.probe_ended(outcome, now, jitter);
                        if before == CircuitState::HalfOpen {
                            prop_assert_eq!(circuit.state() == CircuitState::Closed, outcome == Outcome::Reached);
                            failed_probes += 1;
                        } else {
                            prop_assert_eq!(circuit.state(), before);
                        }
                    }
                }
                if circuit.state() == CircuitState::Closed && before != CircuitState::Closed {
                    in_a_row = 0;
                }
                if circuit.state() == CircuitState::Open && before != CircuitState::Open {
                    let pause = circuit.admit(now).expect_err("open");
                    let longest = POLICY.pause_first.saturating_mul(2_u32.saturating_pow(failed_probes)).min(POLICY.pause_max);
                    prop_assert!(longest / 2 <= pause && pause <= longest, "{:?} of {:?}", pause, longest);
                }
            }
        }
    }
}
