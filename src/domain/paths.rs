//! Paths of source files, as the chat backend names them.
//!
//! Invariant: a [`SourcePath`] joined to a directory stays inside of it, on any file
//! system, and no two different ones normalise to the same file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest path, in bytes: leaves room for `{data_dir}/projects/{id}/…` under `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest single name, in bytes: ext4's and xfs's limit, less room for a temporary suffix.
pub const NAME_BYTES_MAX: usize = 240;
/// Deepest nesting of folders.
pub const DEPTH_MAX: usize = 32;
/// The folder of the source that holds a project's front end.
const FRONTEND_PREFIX: &str = "frontend/";

/// A relative path with `/` between its names, inside of a project's `frontend/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
// What can be said of a path without counting bytes, in the order of `PathError`; a `maxLength` would be as right, but makes the
// generation of examples take minutes.
#[schema(
    value_type = String,
    pattern = r"^(?!.{1025})(?!.*[^/]{241})(?!(?:.*/)?(?:\.\.?|\.git|node_modules)(?:/|$))[^/\\\x00-\x1f\x7f-\x9f]+(?:/[^/\\\x00-\x1f\x7f-\x9f]+){0,31}$",
    examples("src/App.tsx")
)]
pub struct SourcePath(String);

/// Why a text is no [`SourcePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum PathError {
    #[error("a path is empty")]
    Empty,
    #[error("a path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("a name in the path is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("a path is nested deeper than {DEPTH_MAX} folders")]
    TooDeep,
    #[error("a path is absolute")]
    Absolute,
    #[error("a path has a '.' or '..' or empty name in it")]
    DotOrEmptyName,
    #[error("a path has a backslash in it")]
    Backslash,
    #[error("a path has a control character in it")]
    Control,
    #[error("'node_modules' is made here and cannot be synced")]
    NodeModules,
    #[error("'.git' is no part of an app and cannot be synced")]
    Git,
}

impl SourcePath {
    /// Checks `text` and takes it as it is (case kept, nothing normalised).
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if text.contains('\\') {
            return Err(PathError::Backslash);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        for (depth, name) in text.split('/').enumerate() {
            check_name(name)?;
            if depth >= DEPTH_MAX {
                return Err(PathError::TooDeep);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Like [`SourcePath::parse`], for what callers send: a leading `frontend/` may be the source's folder, and is dropped, or the
    /// project's own, and is kept. Only the source knows, so both readings are given.
    pub fn parse_request(text: &str) -> Result<(Self, Option<Self>), PathError> {
        match text.strip_prefix(FRONTEND_PREFIX) {
            Some(inside) => Ok((Self::parse(inside)?, Self::parse(text).ok())),
            None => Ok((Self::parse(text)?, None)),
        }
    }

    /// The path as text, with `/` between names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This path below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// The folders above the file, nearest last: `a`, `a/b` for `a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" | "." | ".." => Err(PathError::DotOrEmptyName),
        // A synced dependency folder would stand in the way of the one that is linked there.
        "node_modules" => Err(PathError::NodeModules),
        ".git" => Err(PathError::Git),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong),
        _ => Ok(()),
    }
}

impl TryFrom<String> for SourcePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SourcePath> for String {
    fn from(path: SourcePath) -> Self {
        path.0
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dangerous_paths_are_refused() {
        let cases = [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("a/../../b", PathError::DotOrEmptyName),
            ("./a", PathError::DotOrEmptyName),
            ("a//b", PathError::DotOrEmptyName),
            ("a/", PathError::DotOrEmptyName),
            ("a\\b", PathError::Backslash),
            ("a\0b", PathError::Control),
            ("a\nb", PathError::Control),
            ("node_modules/react/index.js", PathError::NodeModules),
            (".git/config", PathError::Git),
        ];
        for (text, error) in cases {
            assert_eq!(SourcePath::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(SourcePath::parse(&"a".repeat(241)), Err(PathError::NameTooLong));
        assert_eq!(SourcePath::parse(&"a/".repeat(600)), Err(PathError::TooLong));
        assert_eq!(SourcePath::parse(&format!("{}x", "a/".repeat(32))), Err(PathError::TooDeep));
    }

    #[test]
    fn odd_but_legal_names_are_kept() {
        for name in [".env", "a b.txt", "ü/ß.css", "100%.md", "a#b+c.ts", "...", "[id].tsx", "%2e%2e"] {
            assert_eq!(SourcePath::parse(name).map(String::from), Ok(name.to_owned()));
        }
    }

    #[test]
    fn the_frontend_prefix_is_accepted_once() {
        let readings = |text| SourcePath::parse_request(text).map(|(path, as_sent)| (path.0, as_sent.map(|path| path.0)));
        assert_eq!(readings("src/a.ts"), Ok(("src/a.ts".into(), None)));
        assert_eq!(readings("frontend/src/a.ts"), Ok(("src/a.ts".into(), Some("frontend/src/a.ts".into()))));
        assert_eq!(SourcePath::parse_request("frontend/../x"), Err(PathError::DotOrEmptyName));
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_inside(text in "[a.%/\\\\ \u{0}-\u{7f}é]{0,40}") {
            if let Ok(path) = SourcePath::parse(&text) {
                let joined = path.under(Path::new("/root/dir"));
                prop_assert!(joined.starts_with("/root/dir"));
                prop_assert!(joined.components().all(|c| matches!(c, Component::Normal(_) | Component::RootDir)));
                prop_assert_eq!(path.as_str(), text);
            }
        }
    }
}
