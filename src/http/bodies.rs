//! The bodies of the calls that change something, as they come and as they go.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::whole_number;
use crate::domain::{BuildId, BuildRecord, Priority, ProjectId, Revision, SourcePath};

/// What changed; without a body, everything is looked at.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct SyncBody {
    /// None named: the source is listed, and only what differs is fetched.
    #[serde(default)]
    pub(super) changed_files: Option<Vec<ChangedFile>>,
    /// Answer only when the revision is live, has failed, or this time is over; milliseconds.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(maximum = 60000)]
    pub(super) wait_ms: u64,
    #[serde(default)]
    pub(super) priority: Priority,
}

/// A file that the caller changed: an object, or just its path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a file is its path, or an object with `path`, and maybe `type` and `deleted`")]
pub(super) enum ChangedFile {
    /// Its path, relative to the project's `frontend/` (which may stand in front).
    Path(SentPath),
    /// A file of the front end.
    Frontend {
        path: SentPath,
        #[serde(default, rename = "type")]
        _kind: Option<Frontend>,
        /// Taken and not relied on: the source says what is there.
        #[serde(default, rename = "deleted")]
        _deleted: bool,
    },
    /// Any other file: left alone, and listed under `ignored`.
    Other {
        path: String,
        #[serde(rename = "type")]
        #[schema(pattern = "^(?!frontend$)")]
        _kind: String,
        #[serde(default, rename = "deleted")]
        _deleted: bool,
    },
}

/// A path as it was sent, not checked yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = SourcePath)]
pub(super) struct SentPath(String);

/// The type of files that are synced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Frontend {
    /// The only one.
    Frontend,
}

/// How to build; without a body, as ever.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct BuildBody {
    /// Forget the project's caches first.
    #[serde(default)]
    pub(super) clean: bool,
    /// Answer only when the revision is live, has failed, or this time is over; milliseconds.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(maximum = 60000)]
    pub(super) wait_ms: u64,
    #[serde(default)]
    pub(super) priority: Priority,
}

/// Which release is to be live.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct RollbackBody {
    /// A build that is still retained.
    #[schema(required, value_type = BuildId)]
    pub(super) build_id: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    /// The sources are what they were.
    NoChanges,
    /// The revision is accepted; its build waits or runs.
    Building,
    /// The revision is live.
    Ready,
    /// Its build failed.
    Error,
}

/// Which revision a request led to, and where it is to be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncResponse {
    pub(super) status: Progress,
    pub(super) project_id: ProjectId,
    pub(super) revision: Revision,
    /// Paths whose content is new.
    pub(super) changes: Vec<String>,
    /// Paths that are gone.
    pub(super) deleted: Vec<String>,
    /// Paths that were left alone.
    pub(super) ignored: Vec<String>,
    pub(super) preview_url: String,
    pub(super) status_url: String,
    pub(super) logs_url: String,
    /// With `wait_ms`: the build that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) build: Option<BuildRecord>,
}

/// The paths to look at (`None`: everything, where no file is named), and those to leave alone.
pub(super) fn split_paths(files: Option<Vec<ChangedFile>>) -> Result<(Option<BTreeSet<SourcePath>>, Vec<String>), ApiError> {
    let Some(files) = files.filter(|files| !files.is_empty()) else { return Ok((None, Vec::new())) };
    let (mut paths, mut ignored) = (BTreeSet::new(), Vec::new());
    for file in files {
        let path = match file {
            ChangedFile::Path(SentPath(path)) | ChangedFile::Frontend { path: SentPath(path), .. } => path,
            ChangedFile::Other { path, .. } => {
                ignored.push(path);
                continue;
            }
        };
        let (inside, as_sent) = SourcePath::parse_request(&path).map_err(|reason| ApiError::InvalidPath { path, reason })?;
        paths.insert(inside);
        paths.extend(as_sent);
    }
    Ok((Some(paths), ignored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_in_both_forms_and_other_types_are_left_alone() {
        let json = r#"{"changed_files": ["frontend/a.ts", {"path": "b.ts", "type": "frontend"}, {"path": "api/x.py", "type": "backend"}, {"path": "c.ts", "deleted": true}]}"#;
        let body: SyncBody = serde_json::from_str(json).expect("json");
        let (paths, ignored) = split_paths(body.changed_files).expect("valid");
        let paths: Vec<_> = paths.expect("some").into_iter().map(String::from).collect();
        assert_eq!((paths, ignored), (vec!["a.ts".into(), "b.ts".into(), "c.ts".into(), "frontend/a.ts".into()], vec!["api/x.py".to_owned()]));
        assert!(split_paths(None).expect("valid").0.is_none() && split_paths(Some(Vec::new())).expect("valid").0.is_none());
        let bad = split_paths(Some(vec![ChangedFile::Path(SentPath("../x".into()))]));
        assert!(matches!(bad, Err(ApiError::InvalidPath { .. })));
    }
}
