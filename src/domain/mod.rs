//! Floor 0: what the daemon talks about. Pure: no I/O, no clock, no runtime.
//!
//! Everything that comes from outside is parsed into these types at the edge, so that
//! no raw string names a project, a path or a build below `http`.

pub mod address;
pub mod app_root;
pub mod build;
pub mod data_dir;
pub mod hash;
pub mod ids;
pub mod manifest;
pub mod paths;
pub mod status;

pub use build::{BuildRecord, Failure, FailureKind, Mode, Outcome, Timings};
pub use data_dir::{DataDir, ProjectDir};
pub use hash::ContentHash;
pub use ids::{BuildId, Priority, ProjectId, Revision};
pub use manifest::{Manifest, ManifestEntry};
pub use paths::SourcePath;

#[cfg(test)]
mod proptests;
