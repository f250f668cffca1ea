//! How a build ended. A failed build is data, not an error: it is stored, shown and counted.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BuildId, Revision};

/// Longest failure message that is kept, in characters.
pub const FAILURE_MESSAGE_MAX: usize = 4_000;
/// Longest code frame that is kept, in characters.
pub const FAILURE_FRAME_MAX: usize = 4_000;

/// A named closed set with one text for JSON, the database and metrics. The text is taken as a `tt`: utoipa does not see through a `literal`.
macro_rules! named_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize, ::utoipa::ToSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in JSON, in the database and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($text => Ok(Self::$variant),)+ other => Err(format!("unknown {}: {other}", stringify!($name))) }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use named_set;

named_set! {
    /// How one build ended.
    Outcome {
        /// It is a release.
        Succeeded => "succeeded",
        /// The project does not build, see its [`Failure`].
        Failed => "failed",
        /// It took longer than `build.timeout_s`.
        TimedOut => "timed_out",
        /// It took more than `build.memory_mb`.
        OutOfMemory => "out_of_memory",
        /// A newer revision made it pointless.
        Superseded => "superseded",
        /// The daemon stopped, or the project was deleted, before its end.
        Cancelled => "cancelled",
    }
}

named_set! {
    /// What kind of thing went wrong.
    FailureKind {
        /// A source file does not parse or compile.
        Compile => "compile",
        /// An import leads nowhere.
        Resolve => "resolve",
        /// Dependencies cannot be installed.
        Install => "install",
        /// `vite.config`, `package.json` or the project's shape is broken.
        Config => "config",
        /// The time limit.
        Timeout => "timeout",
        /// The memory limit.
        Memory => "memory",
        /// The output is too large, too much, or holds what may not be published.
        Output => "output",
        /// Ours: not the project's fault.
        Internal => "internal",
    }
}

named_set! {
    /// Whether a waiting worker took the build.
    Worker {
        /// It had Vite loaded already.
        Warm => "warm",
        /// A fresh process.
        Cold => "cold",
    }
}

named_set! {
    /// Whether a build's dependencies were there already.
    LayerUse {
        /// They were.
        Hit => "hit",
        /// They had to be installed.
        Miss => "miss",
        /// It has none, or did not get that far.
        None => "none",
    }
}

named_set! {
    /// How a build was made.
    Mode {
        /// Own modules only, dependencies from a layer.
        Layered => "layered",
        /// Everything bundled by the project's Vite.
        Plain => "plain",
        /// Served as it is: no Vite in the project.
        Static => "static",
    }
}

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The kind, stable.
    pub kind: FailureKind,
    /// One or few lines for a person.
    pub message: String,
    /// Source file, relative to the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The lines around the place, with a mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
}

impl Failure {
    /// A failure without a place.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message = truncate(message.into(), FAILURE_MESSAGE_MAX);
        Self { kind, message, file: None, line: None, column: None, frame: None }
    }

    /// The outcome that a build with this failure has.
    pub fn outcome(&self) -> Outcome {
        match self.kind {
            FailureKind::Timeout => Outcome::TimedOut,
            FailureKind::Memory => Outcome::OutOfMemory,
            _ => Outcome::Failed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}:{}", self.column.unwrap_or(1))?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Cuts `text` to at most `max` characters, marking the cut.
pub fn truncate(mut text: String, max: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(max) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Where a build's time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// Taking over the files from the source.
    pub sync: u64,
    /// From accepted to claimed.
    pub queued: u64,
    /// Installing dependencies; 0 where they did not change.
    pub install: u64,
    /// The project's Vite.
    pub build: u64,
    /// Scan, rename and swap.
    pub publish: u64,
    /// From the request to live.
    pub total: u64,
}

/// One build, as history and status show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BuildRecord {
    /// Its id.
    pub build_id: BuildId,
    /// What it built.
    pub revision: Revision,
    /// How it ended; `null` while it runs.
    #[schema(required)]
    pub outcome: Option<Outcome>,
    /// How it was made; `null` where it ended before that was known.
    #[schema(required)]
    pub mode: Option<Mode>,
    /// Why a plain build was needed, where a layer could have served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_reason: Option<String>,
    /// The edition of the layer that its packages come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// `warm` where a waiting worker took it, else `cold`.
    pub worker: Worker,
    /// Whether its dependencies were there already.
    pub layer: LayerUse,
    /// Where the installed versions came from: a lockfile's name, or `fresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockfile: Option<String>,
    /// Where the time went.
    pub timings_ms: Timings,
    /// What went wrong, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What may go wrong at run time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether a navigation to an unknown path gets `index.html`.
    #[serde(default)]
    #[schema(required)]
    pub spa: bool,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl BuildRecord {
    /// A build that begins now.
    pub fn begun(build_id: BuildId, revision: Revision, started_at: Timestamp) -> Self {
        Self {
            build_id,
            revision,
            outcome: None,
            mode: None,
            mode_reason: None,
            edition: None,
            worker: Worker::Cold,
            layer: LayerUse::None,
            lockfile: None,
            timings_ms: Timings::default(),
            failure: None,
            warnings: Vec::new(),
            spa: false,
            started_at,
            finished_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
            assert_eq!(serde_json::to_value(outcome).expect("json"), outcome.as_str());
        }
        assert!("nonsense".parse::<Mode>().is_err());
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert_eq!(truncate("äöü".into(), 2), "äö…");
        assert_eq!(truncate("äö".into(), 2), "äö");
    }
}
