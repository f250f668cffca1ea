//! The status object (API.md, "Status object"): how a project stands, as callers see it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::build::{named_set, truncate};
use super::{BuildId, BuildRecord, Outcome, ProjectId, Revision};

/// Longest detail of a verdict, in characters.
const DETAIL_CHARS_MAX: usize = 2_000;

/// How a project stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A revision waits for its build.
    Queued,
    /// A build runs.
    Building,
    /// The newest revision is live.
    Ready,
    /// The newest revision failed; the last good release, if any, stays live.
    Error,
    /// Nothing was ever accepted.
    Empty,
}

/// What decides a [`State`].
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Newest accepted revision.
    pub wanted: Revision,
    /// Newest revision whose build ended for good.
    pub finished: Revision,
    /// A build of it runs now.
    pub claimed: bool,
    /// How the newest finished revision's build ended.
    pub last_outcome: Option<Outcome>,
}

impl Standing {
    /// The state that follows.
    pub fn state(self) -> State {
        if self.wanted > self.finished {
            return if self.claimed { State::Building } else { State::Queued };
        }
        match self.last_outcome {
            Some(Outcome::Succeeded) => State::Ready,
            Some(_) => State::Error,
            None => State::Empty,
        }
    }
}

/// The live release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Live {
    /// The build that made it.
    pub build_id: BuildId,
    /// The revision that it shows: "is my change live?" is `live.revision >= revision`.
    pub revision: Revision,
    /// When it went live.
    pub published_at: Timestamp,
    /// Where it is to be seen.
    pub url: String,
}

/// A build that runs now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunningBuild {
    /// Its id.
    pub build_id: BuildId,
    /// What it builds.
    pub revision: Revision,
}

named_set! {
    /// What a browser made of a release.
    Verdict {
        /// It shows something, and nothing threw before it did.
        Rendered => "rendered",
        /// The page is blank.
        Empty => "empty",
        /// A script threw at the start, and the page shows nothing for it.
        ScriptError => "script_error",
        /// A script or stylesheet that the page needs could not be loaded.
        AssetMissing => "asset_missing",
        /// Nobody looked yet.
        Unknown => "unknown",
    }
}

named_set! {
    /// Who saw how a release rendered.
    Witness {
        /// The preview client in a visitor's browser: a claim of whoever opened the preview.
        Visitor => "visitor",
        /// The daemon's own headless check, which counts for more.
        Headless => "headless",
    }
}

/// Whether a release really rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenderReport {
    /// The build that was looked at.
    pub build_id: BuildId,
    /// What it came to.
    pub verdict: Verdict,
    /// The first error, or what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who says so.
    pub by: Witness,
    /// When.
    pub time: Timestamp,
}

impl RenderReport {
    /// Within the limits.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { detail: self.detail.map(|text| truncate(text, DETAIL_CHARS_MAX)), ..self }
    }
}

/// Whether a release really showed something in a browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Render {
    /// The build that was looked at.
    pub build_id: BuildId,
    /// `unknown` until somebody looked.
    pub verdict: Verdict,
    /// The first error, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Everything a caller wants to know of a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The project.
    pub project_id: ProjectId,
    /// How it stands.
    pub state: State,
    /// Newest accepted revision.
    pub revision: Revision,
    /// What previews serve; `null` before the first success.
    #[schema(required)]
    pub live: Option<Live>,
    /// The newest build that ended; `null` before.
    #[schema(required)]
    pub last_build: Option<BuildRecord>,
    /// The build that runs now, if any.
    #[schema(required)]
    pub running: Option<RunningBuild>,
    /// What browsers saw of the live release; `null` without one.
    #[schema(required)]
    pub render: Option<Render>,
    /// Where the preview is.
    pub preview_url: String,
    /// `required`, or `off` where builds run without protection.
    pub sandbox: crate::config::SandboxMode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let state = |wanted, finished, claimed, last_outcome| {
            Standing { wanted: Revision(wanted), finished: Revision(finished), claimed, last_outcome }.state()
        };
        assert_eq!(state(0, 0, false, None), State::Empty);
        assert_eq!(state(1, 0, false, None), State::Queued);
        assert_eq!(state(2, 1, true, Some(Outcome::Succeeded)), State::Building);
        assert_eq!(state(2, 2, false, Some(Outcome::Succeeded)), State::Ready);
        assert_eq!(state(2, 2, false, Some(Outcome::TimedOut)), State::Error);
    }
}
