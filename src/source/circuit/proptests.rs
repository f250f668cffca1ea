//! The circuit under any order of events.

use proptest::prelude::*;

use super::tests::POLICY;
use super::*;

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
