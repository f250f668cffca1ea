//! Why the source could not be read, for callers and for metrics.
//!
//! Invariant: no secret and no path on this machine is in any of these texts.

use std::time::Duration;

use crate::domain::SourcePath;

/// Why the source could not be read. Secrets are taken out already.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Connect, timeout, 5xx, 429 or a cut body, after all tries.
    #[error("the source cannot be reached: {0}")]
    Unavailable(String),
    /// One file or folder of a source that is there: permissions, a damaged disk.
    #[error("the source cannot be read: {0}")]
    Unreadable(String),
    /// It could not be reached so often that it is not asked for a while (see `circuit`).
    #[error("the source cannot be reached, and is asked again in {} s: {why}", whole_seconds(*retry_after))]
    Resting {
        /// Until the next probe.
        retry_after: Duration,
        /// Why it could not be reached the last time.
        why: String,
    },
    /// 401 or 403.
    #[error("the source refused our credentials: {0}")]
    Denied(String),
    /// One file over `sync.max_file_mb`.
    #[error("{path} has {size} bytes or more, over the limit sync.max_file_mb of {limit} bytes")]
    TooLarge {
        /// Which.
        path: SourcePath,
        /// Bytes seen so far.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A project over `sync.max_files`.
    #[error("the project has more than {limit} files, the limit sync.max_files")]
    TooManyFiles {
        /// Files allowed.
        limit: usize,
    },
    /// The content does not match the hash that the source gives for it, every time.
    #[error("{path} arrived damaged {attempts} times: {detail}")]
    Corrupt {
        /// Which.
        path: SourcePath,
        /// Tries.
        attempts: u32,
        /// Expected and found.
        detail: String,
    },
    /// A container that does not exist, a bad URL or connection string.
    #[error("{0}")]
    Misconfigured(String),
    /// The disk here.
    #[error("local disk: {0}")]
    Local(#[from] std::io::Error),
}

impl SourceError {
    /// A short stable name, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unreadable(_) => "unreadable",
            Self::Resting { .. } => "resting",
            Self::Denied(_) => "denied",
            Self::TooLarge { .. } | Self::TooManyFiles { .. } => "limit",
            Self::Corrupt { .. } => "corrupt",
            Self::Misconfigured(_) => "misconfigured",
            Self::Local(_) => "local",
        }
    }
    /// What a caller should wait before it tries again, in whole seconds, where that is known.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Resting { retry_after, .. } => Some(whole_seconds(*retry_after)),
            _ => None,
        }
    }
}

/// Rounded up: who comes back earlier is refused again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_and_never_none() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (29_400, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms}");
        }
    }
}
