//! What the Vite worker says, one JSON object a line.
//!
//! Invariant: messages are claims. Project code runs in the worker's process and could forge any of
//! them, so they decide what the user is told, never what is read or published. What is not exactly a message (a
//! field too many, a number that is none) is text that somebody printed.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::build::{FAILURE_FRAME_MAX, truncate};
use crate::domain::{Failure, FailureKind, app_root};

/// Longest line that is read; what is longer is cut and then no valid message.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest file name that is taken over into a failure, in characters.
const FILE_CHARS_MAX: usize = 1024;

/// One message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Message {
    /// The worker runs.
    Ready {
        #[serde(rename = "node", default)]
        _node: Option<IgnoredAny>,
    },
    /// The project's configuration is resolved.
    Config(ConfigClaim),
    /// Something to log.
    Log {
        /// How serious.
        level: crate::events::Level,
        /// Text.
        message: String,
    },
    /// The job was taken up.
    Took {},
    /// Another process is needed: what this one knows of the configuration is out of date.
    Stale {},
    /// What builds of a layer need is loaded.
    Warmed {},
    /// What came of the layer.
    Layer(LayerClaim),
    /// Modules of packages that the next edition of the layer should have.
    Wants {
        /// Absolute paths.
        files: Vec<String>,
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
        modules: u32,
        #[serde(rename = "assets", default)]
        _assets: Option<IgnoredAny>,
        #[serde(rename = "warnings", default)]
        _warnings: Option<IgnoredAny>,
        #[serde(rename = "ms", default)]
        _ms: Option<IgnoredAny>,
    },
}

/// What the project's Vite configuration says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigClaim {
    pub(super) vite: String,
    #[serde(default)]
    pub(super) bundler: String,
    #[serde(default)]
    pub(super) spa: bool,
    // Said for whoever reads the worker's messages; nothing here may depend on them.
    #[serde(rename = "root", default)]
    _root: Option<IgnoredAny>,
    #[serde(rename = "base", default)]
    _base: Option<IgnoredAny>,
    #[serde(rename = "out_dir", default)]
    _out_dir: Option<IgnoredAny>,
    #[serde(rename = "assets_dir", default)]
    _assets_dir: Option<IgnoredAny>,
    #[serde(rename = "entries", default)]
    _entries: Option<IgnoredAny>,
}

/// What came of the layer in a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerClaim {
    /// The edition that packages come from; none in a plain build.
    pub(super) edition: Option<String>,
    /// Why no edition of the layer can serve.
    pub(super) reason: Option<String>,
    /// What the project's configuration means for packages.
    pub(super) variant: Option<String>,
}

/// Why a job failed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
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

    #[test]
    fn only_exact_messages_are_messages() {
        let done = r#"{"type":"done","modules":3,"assets":2,"warnings":0,"ms":5}"#;
        assert!(matches!(parse(done), Some(Message::Done { modules: 3, .. })));
        let config = r#"{"type":"config","vite":"8.0.0","bundler":"rolldown","root":"/w","base":"/","out_dir":"dist","assets_dir":"a","spa":true,"entries":[]}"#;
        assert!(matches!(parse(config), Some(Message::Config(ConfigClaim { spa: true, .. }))));
        assert!(matches!(parse(r#"{"type":"ready","node":"20"}"#), Some(Message::Ready { .. })));
        let forged = [
            r#"{"type":"done","modules":3,"files":["/etc/passwd"]}"#,
            r#"{"type":"done","modules":-1}"#,
            r#"{"type":"done","modules":1e300}"#,
            r#"{"type":"done"} {"type":"done"}"#,
            r#"{"type":"ready","release":"x"}"#,
            r#"{"type":"config","vite":"8","out":"/etc"}"#,
            r#"{"type":"log","level":"info","message":"x","path":"/etc"}"#,
            r#"{"type":"failure","kind":"compile","message":"x","release":"y"}"#,
            r#"{"type":"failure","kind":"compile","message":"x","line":"1"}"#,
        ];
        for line in forged {
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
