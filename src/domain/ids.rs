//! The names of things: projects, their labels, builds, revisions, priorities.
//!
//! Invariant: a value of one of these types is valid; it may go into a file name or a
//! URL as it is.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;
use utoipa::ToSchema;

/// Longest project id, in characters (API.md, "Words").
pub const PROJECT_ID_MAX: usize = 64;
/// Longest DNS label, in characters (RFC 1035).
const DNS_LABEL_MAX: usize = 63;
/// What a label begins with that could not be the project id itself.
const HASHED_LABEL_PREFIX: &str = "p-";
/// Characters of the hash in such a label.
const HASHED_LABEL_CHARS: usize = 20;

/// A project's id: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", examples("demo"))]
pub struct ProjectId(String);

/// A project id that does not have the form that [`ProjectId`] names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a project id is 1 to {PROJECT_ID_MAX} letters, digits, '_' or '-', and starts with a letter or digit")]
pub struct InvalidProjectId;

impl ProjectId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS label that stands for this project in host mode: the id itself where it is
    /// a lower-case DNS label without `--` (which separates a build id from a label), else
    /// `p-` and the first 20 characters of the lower-case base32 of its SHA-256.
    ///
    /// An id that has the form of such a hash gets a hashed label too: nobody takes the label of
    /// another project by its name.
    pub fn label(&self) -> String {
        if is_dns_label(&self.0) && !has_hashed_form(&self.0) {
            return self.0.clone();
        }
        let hash = BASE32_NOPAD.encode(&Sha256::digest(self.0.as_bytes()));
        format!("{HASHED_LABEL_PREFIX}{}", hash[..HASHED_LABEL_CHARS].to_ascii_lowercase())
    }
}

fn has_hashed_form(id: &str) -> bool {
    let hash = id.strip_prefix(HASHED_LABEL_PREFIX).unwrap_or_default();
    hash.len() == HASHED_LABEL_CHARS && hash.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
}

fn is_dns_label(id: &str) -> bool {
    id.len() <= DNS_LABEL_MAX
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-')
        && !id.ends_with('-')
        && !id.contains("--")
}

impl FromStr for ProjectId {
    type Err = InvalidProjectId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let all_allowed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if starts_well && all_allowed && text.len() <= PROJECT_ID_MAX { Ok(Self(text.to_owned())) } else { Err(InvalidProjectId) }
    }
}

impl TryFrom<String> for ProjectId {
    type Error = InvalidProjectId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProjectId> for String {
    fn from(id: ProjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One attempt to turn a revision into a release: a ULID, so that ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", examples("01J00000000000000000000000"))]
pub struct BuildId(Ulid);

/// A text that is no ULID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a build id is a ULID: 26 characters of Crockford's base32")]
pub struct InvalidBuildId;

impl BuildId {
    /// A build id from its time (milliseconds since 1970) and 80 bits of randomness.
    pub fn from_parts(unix_ms: u64, random: u128) -> Self {
        Self(Ulid::from_parts(unix_ms, random))
    }
}

impl FromStr for BuildId {
    type Err = InvalidBuildId;

    /// Takes either case: host names arrive in lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(&text.to_ascii_uppercase()).map(Self).map_err(|_| InvalidBuildId)
    }
}

impl TryFrom<String> for BuildId {
    type Error = InvalidBuildId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BuildId> for String {
    fn from(id: BuildId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A per-project counter that rises by one with every accepted sync or build request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whether somebody waits for the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A user looks at the preview.
    #[default]
    Interactive,
    /// Imports, warm-ups: after the interactive ones, though never starved by them.
    Background,
}

impl Priority {
    /// Every priority, for metrics that show each.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Background];

    /// The name in JSON, in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(id: &str) -> String {
        id.parse::<ProjectId>().expect("valid id").label()
    }

    #[test]
    fn labels_follow_the_contract() {
        assert_eq!(label("demo"), "demo");
        assert_eq!(label("my-app-2"), "my-app-2");
        for hashed in ["Demo", "my_app", "a--b", "trailing-", &"a".repeat(64)] {
            let label = label(hashed);
            assert!(label.starts_with("p-") && label.len() == 22, "{hashed} -> {label}");
        }
        // The label of `Demo`, as an id; near misses are plain.
        assert_ne!(label("p-riwmazz3drbigfp6qtab"), label("Demo"));
        for plain in ["p-riwmazz3drbigfp6qta", "p-riwmazz3drbigfp6qta1", "p-riwmazz3drbigfp6qtabc"] {
            assert_eq!(label(plain), plain);
        }
        // echo -n Demo | sha256sum | xxd -r -p | base32 | head -c 20
        assert_eq!(label("Demo"), format!("p-{}", &label_hash("Demo")));
    }

    fn label_hash(text: &str) -> String {
        BASE32_NOPAD.encode(&Sha256::digest(text)).to_lowercase()[..20].to_owned()
    }

    #[test]
    fn bad_project_ids_are_refused() {
        for bad in ["", "-a", "_a", "a b", "a/b", "..", "ä", "a.b", &"a".repeat(65)] {
            assert!(bad.parse::<ProjectId>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn build_ids_sort_by_time_and_take_either_case() {
        let early = BuildId::from_parts(1_000, 7);
        let late = BuildId::from_parts(2_000, 1);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().to_lowercase().parse(), Ok(early));
        assert!("not-a-ulid".parse::<BuildId>().is_err());
    }

    proptest! {
        #[test]
        fn every_label_is_a_dns_label_and_unlike_a_permalink(id in "[A-Za-z0-9][A-Za-z0-9_-]{0,63}") {
            let label = label(&id);
            prop_assert!(is_dns_label(&label), "{id} -> {label}");
        }

        #[test]
        fn the_hashed_form_is_nobodys_own_name(id in "p-[a-z2-7]{20}") {
            prop_assert_ne!(label(&id), id);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            if let Ok(id) = text.parse::<ProjectId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
