//! The closed set of events, and what each of them says.
//!
//! `GET /events/{id}` tells [`Event`]s; a preview's own origin (`/_previewd/events`) tells [`PreviewEvent`]s, which
//! follow from them. The name of an event is its `event:` line, the JSON of what it holds its `data:` line.
//!
//! Invariant: texts that come from a browser are within the limits here once [`ConsoleRecord::bounded`] or
//! [`RenderReport::bounded`](crate::domain::status::RenderReport::bounded) has seen them. They are claims of whoever opened the preview.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LogLine;
use crate::domain::build::{named_set, truncate};
use crate::domain::status::{RenderReport, Status};
use crate::domain::{BuildId, BuildRecord, Failure, Outcome, Revision};

/// Longest message or stack that a browser can report, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;
/// Longest frame around a place, in characters.
const FRAME_CHARS_MAX: usize = 2_000;
/// Longest path or address that is kept, in characters.
const ADDRESS_CHARS_MAX: usize = 500;

/// Something that happened to a project.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// It stands otherwise now.
    Status(Box<Status>),
    /// A line of the log of a build that runs.
    Log(BuildLine),
    /// Another release is live.
    Published(Published),
    /// A release was looked at in a browser, and this is what it came to.
    Render(RenderReport),
    /// A page of the preview said something.
    Console(Box<ConsoleRecord>),
}

impl Event {
    /// The name in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Log(_) => "log",
            Self::Published(_) => "published",
            Self::Render(_) => "render",
            Self::Console(_) => "console",
        }
    }
}

/// A line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildLine {
    /// Whose log.
    pub build_id: BuildId,
    /// The line's number in it, from 0.
    pub number: usize,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

named_set! {
    /// How a release came to be live.
    PublishReason {
        /// It was built.
        Build => "build",
        /// An earlier one was made live again.
        Rollback => "rollback",
        /// It was live already: told first to whoever comes without a known `Last-Event-ID`.
        Current => "current",
    }
}

/// A release is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The build that made it.
    pub build_id: BuildId,
    /// What it shows.
    pub revision: Revision,
    /// Why it is told.
    pub reason: PublishReason,
    /// The release that was live before, which `styles_only` compares with; `null` where there was none or it is not known.
    #[schema(required)]
    pub previous_build_id: Option<BuildId>,
    /// A page of `previous_build_id` becomes one of this release by swapping the stylesheets in `styles`, without a reload.
    pub styles_only: bool,
    /// The stylesheets that changed, where `styles_only` is true.
    pub styles: Vec<StyleSwap>,
}

/// A stylesheet that takes another's place. Paths are relative to the preview's root, without a slash in front.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct StyleSwap {
    /// Its path in the previous release.
    pub from: String,
    /// Its path in this one; the same where the name has no hash of the content.
    pub to: String,
}

named_set! {
    /// Where in a page something was said.
    ConsoleSource {
        /// `console.log()` and the like.
        Console => "console",
        /// An error that nothing caught.
        Error => "error",
        /// A promise that was rejected, which nothing handled.
        Rejection => "rejection",
        /// An image, script or stylesheet that could not be loaded.
        Resource => "resource",
        /// A `fetch` or `XMLHttpRequest` that failed, or was answered with 400 or more.
        Request => "request",
    }
}

named_set! {
    /// How serious it is, as the page has it.
    ConsoleLevel {
        /// `console.debug()`.
        Debug => "debug",
        /// `console.log()` and `console.info()`.
        Info => "info",
        /// `console.warn()`.
        Warn => "warn",
        /// `console.error()`, and every source but `console`.
        Error => "error",
    }
}

/// Something that a page of a preview said, with its place mapped back to the sources where there is a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsoleRecord {
    /// The build that the page is of.
    pub build_id: BuildId,
    /// Where it was said.
    pub source: ConsoleSource,
    /// How serious.
    pub level: ConsoleLevel,
    /// One text: arguments joined, an error with its name.
    pub message: String,
    /// Source file, relative to the project (or to the preview's root where nothing maps it).
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
    /// The mapped stack, one call a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Of `resource` and `request`: what was asked for, without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of `request`: the answer's status; none where there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How often it was said, where the page counts repetitions; 1 or more.
    pub count: u32,
    /// When it was said first.
    pub time: Timestamp,
}

impl ConsoleRecord {
    /// Within the limits.
    #[must_use]
    pub fn bounded(self) -> Self {
        let cut = |text: Option<String>, max| text.map(|text| truncate(text, max));
        Self {
            message: truncate(self.message, MESSAGE_CHARS_MAX),
            file: cut(self.file, ADDRESS_CHARS_MAX),
            frame: cut(self.frame, FRAME_CHARS_MAX),
            stack: cut(self.stack, MESSAGE_CHARS_MAX),
            url: cut(self.url, ADDRESS_CHARS_MAX),
            count: self.count.max(1),
            ..self
        }
    }

    /// Whether `other` says the same, so that only its count matters.
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |r: &Self| (r.source, r.level, r.line, r.column, r.status);
        key(self) == key(other) && self.message == other.message && self.file == other.file && self.url == other.url
    }
}

/// What a preview's own origin is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PreviewEvent {
    /// Another release is live.
    Published(Published),
    /// The newest build failed; what is live stays.
    Failed(Box<PreviewFailure>),
    /// The newest build did not fail; told also where none had.
    Fixed(PreviewFixed),
}

impl PreviewEvent {
    /// The name in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Published(_) => "published",
            Self::Failed(_) => "failed",
            Self::Fixed(_) => "fixed",
        }
    }
}

/// The newest build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewFailure {
    /// The build.
    pub build_id: BuildId,
    /// What it was to show.
    pub revision: Revision,
    /// What went wrong, and where.
    #[serde(flatten)]
    pub failure: Failure,
}

/// The newest build did not fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewFixed {
    /// The build.
    pub build_id: BuildId,
}

impl PreviewEvent {
    /// What a project's last build means for its open previews.
    pub fn of_last_build(record: &BuildRecord) -> Option<Self> {
        let build_id = record.build_id;
        match (record.outcome?, &record.failure) {
            (Outcome::Succeeded, _) => Some(Self::Fixed(PreviewFixed { build_id })),
            (_, Some(failure)) => {
                let failure = PreviewFailure { build_id, revision: record.revision, failure: failure.clone() };
                Some(Self::Failed(Box::new(failure)))
            }
            (_, None) => None,
        }
    }
}
