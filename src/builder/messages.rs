//! What the Vite worker says, one JSON object a line.
//!
//! Invariant: messages are claims. Project code runs in the worker's process and could forge any of
//! them, so they decide what the user is told, never what is read or published.

use serde::Deserialize;

use crate::domain::build::{FAILURE_FRAME_MAX, truncate};
use crate::domain::{Failure, FailureKind, app_root};

/// Longest line that is read; what is longer is cut and then no valid message.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest file name that is taken over into a failure, in characters.
const FILE_CHARS_MAX: usize = 1024;

/// One message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Message {
    /// The worker runs.
    Ready {},
    /// The project's configuration is resolved.
    Config(ConfigClaim),
    /// Something to log.
    Log {
        /// How serious.
        level: crate::events::Level,
        /// Text.
        message: String,
    },
    /// The job failed.
    Failure(FailureClaim),
    /// The build wanted to write into the sources.
    Refused {
        /// Where, from the app's folder.
        path: String,
    },
    /// The job is done.
    Done {
        /// Modules bundled.
        #[serde(default)]
        modules: u64,
    },
}

/// What the project's Vite configuration says.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigClaim {
    pub(super) vite: String,
    #[serde(default)]
    pub(super) bundler: String,
    #[serde(default)]
    pub(super) spa: bool,
}

/// Why a job failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FailureClaim {
    kind: ClaimedKind,
    message: String,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    frame: Option<String>,
    /// Of an import that leads nowhere: the package.
    pub(super) package: Option<String>,
    /// And who imports it.
    pub(super) importer: Option<String>,
}

/// The kinds that a worker may claim; the others are ours to say.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClaimedKind {
    Compile,
    Resolve,
    Config,
    Internal,
}

impl FailureClaim {
    /// The failure as it is stored; `app` is the app's folder in the project.
    pub(super) fn into_failure(self, app: &str) -> Failure {
        let kind = match self.kind {
            ClaimedKind::Resolve => FailureKind::Resolve,
            ClaimedKind::Config => FailureKind::Config,
            // An error that the worker could not place still came out of the project's build.
            ClaimedKind::Compile | ClaimedKind::Internal => FailureKind::Compile,
        };
        Failure {
            file: self.file.map(|file| truncate(app_root::join(app, &file), FILE_CHARS_MAX)),
            line: self.line,
            column: self.column,
            frame: self.frame.map(|frame| truncate(frame, FAILURE_FRAME_MAX)),
            ..Failure::new(kind, self.message)
        }
    }

    /// The package that could not be resolved, if that is what failed, and whether project code asked for it.
    pub(super) fn unresolved_package(&self) -> Option<(&str, bool)> {
        let package = self.package.as_deref().filter(|_| matches!(self.kind, ClaimedKind::Resolve))?;
        let from_dependency = self.importer.as_deref().is_some_and(|importer| importer.contains("node_modules/"));
        Some((package, !from_dependency))
    }
}

/// Reads one line; `None` where it is something that project code printed.
pub(super) fn parse(line: &str) -> Option<Message> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failure_is_placed_in_the_project() {
        let line = r#"{"type":"failure","kind":"resolve","message":"no such","file":"src/a.ts","line":3,"package":"left-pad","importer":"src/a.ts"}"#;
        let Some(Message::Failure(claim)) = parse(line) else { panic!("not a failure") };
        assert_eq!(claim.unresolved_package(), Some(("left-pad", true)));
        let failure = claim.into_failure("apps/web");
        assert_eq!((failure.kind, failure.file.as_deref(), failure.line), (FailureKind::Resolve, Some("apps/web/src/a.ts"), Some(3)));
    }

    #[test]
    fn unknown_kinds_and_types_are_not_messages() {
        for line in ["", "hello", "{}", r#"{"type":"publish"}"#, r#"{"type":"failure","kind":"timeout","message":""}"#] {
            assert!(parse(line).is_none(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(line in "\\PC{0,200}") {
            drop(parse(&line));
        }

        #[test]
        fn long_claims_are_cut(message in ".{0,9000}") {
            let claim = FailureClaim { kind: ClaimedKind::Compile, message, file: None, line: None, column: None, frame: None, package: None, importer: None };
            prop_assert!(claim.into_failure("").message.chars().count() <= crate::domain::build::FAILURE_MESSAGE_MAX + 1);
        }
    }
}
