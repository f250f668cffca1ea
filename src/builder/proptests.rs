//! Lines from a worker that project code took over: each is a message with bounds, or none.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::messages::{MESSAGE_BYTES_MAX, Message, parse};
use crate::domain::FailureKind;
use crate::domain::build::{FAILURE_FRAME_MAX, FAILURE_MESSAGE_MAX};

const KEYS: &[&str] =
    &["type", "kind", "message", "file", "line", "column", "frame", "package", "importer", "level", "vite", "bundler", "spa", "modules", "x"];
const WORDS: &[&str] = &[
    "failure",
    "ready",
    "config",
    "log",
    "done",
    "publish",
    "compile",
    "resolve",
    "internal",
    "timeout",
    "memory",
    "output",
    "info",
    "error",
    "../../etc",
    "/etc/passwd",
    "é\u{0}\u{202e}",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(WORDS).prop_map(Value::from),
        1 => (select(WORDS), 1_usize..3000).prop_map(|(word, times)| json!(word.repeat(times))),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(|n| json!(n)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => vec(any::<u8>().prop_map(Value::from), 0..3).prop_map(Value::from),
    ]
}

/// A message of a known type with some fields right and some of any kind, at times broken.
fn line() -> impl Strategy<Value = String> {
    let kind = select(&["compile", "resolve", "config", "internal", "timeout"][..]);
    let parts = (select(&WORDS[..6]), kind, btree_map(select(KEYS), value(), 0..6), prop::option::weighted(0.1, any::<prop::sample::Index>()));
    parts.prop_map(|(message, kind, fields, cut)| {
        let mut object = json!({"type": message, "kind": kind, "message": "m", "vite": "8", "level": "info"});
        for (key, value) in fields {
            object[key] = value;
        }
        let mut line = object.to_string();
        if let Some(cut) = cut {
            let at = (0..=cut.index(line.len() + 1)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
            line.truncate(at);
        }
        line
    })
}

proptest! {
    #[test]
    fn a_claim_is_bounded_and_only_of_the_kinds_that_a_worker_may_claim(line in prop_oneof![6 => line(), 1 => "\\PC{0,200}"]) {
        let Some(message) = parse(&line) else { return Ok(()) };
        let read: Value = serde_json::from_str(&line).expect("it was a message");
        prop_assert!(["ready", "config", "log", "failure", "done"].contains(&read["type"].as_str().expect("a type")));
        if let Message::Failure(claim) = message {
            let failure = claim.into_failure("apps/web");
            prop_assert!(matches!(failure.kind, FailureKind::Compile | FailureKind::Resolve | FailureKind::Config), "{:?}", failure.kind);
            prop_assert!(failure.message.chars().count() <= FAILURE_MESSAGE_MAX + 1);
            prop_assert!(failure.frame.is_none_or(|frame| frame.chars().count() <= FAILURE_FRAME_MAX + 1));
            prop_assert!(failure.file.is_none_or(|file| file.chars().count() <= 1025));
        }
    }
}

/// No property: `scripts/fuzz` leaves it out.
mod depth {
    use super::*;

    #[test]
    fn a_line_nested_without_end_is_no_message() {
        for depth in [200, MESSAGE_BYTES_MAX / 2] {
            assert!(parse(&format!("{{\"type\":\"ready\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth))).is_none(), "{depth}");
        }
    }
}
