//! What is to be built, within which limits, and how it went: what the steps of a build hand to each other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::editions::Wish;
use super::messages::{FailureClaim, LayerClaim};
use crate::domain::{BuildId, Failure};
use crate::release::OutputLimits;

/// Bytes in the unit of the limits.
pub(super) const MB: u64 = 1024 * 1024;

/// Limits of one build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    pub(super) memory_mb: u32,
    pub(super) output: OutputLimits,
}

/// What is to be built.
pub(super) struct Job {
    pub(super) build: BuildId,
    /// The project's sources.
    pub(super) work: PathBuf,
    /// The app's folder in them.
    pub(super) app: String,
    /// An empty folder.
    pub(super) out: PathBuf,
    /// Folders where Vite writes its bundled configuration.
    pub(super) vite_temp: Vec<PathBuf>,
    /// What Vite finds in its environment, over the project's own `.env` files.
    pub(super) env: BTreeMap<String, String>,
    /// Whether the build may write into `work`, which then holds copies.
    pub(super) writable: bool,
    /// Whether a script of the project has written into `work`.
    pub(super) generated: bool,
    /// Editions of the layer, newest first.
    pub(super) editions: Vec<PathBuf>,
    /// Why none of them can serve, where that is known.
    pub(super) plain: Option<String>,
    /// What has changed since the worker's build before; with a `+` in front where it is new or gone.
    pub(super) changed: Vec<String>,
    /// Whether what is built names its source maps, which are published with it.
    pub(super) public_maps: bool,
}

/// A script of the app's `package.json` that the project wants to have run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) command: String,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Run {
    Done(Box<Done>),
    /// Stopped because it wanted to write this path of the sources, which it may not.
    Refused(String),
    Failed {
        failure: Failure,
        claim: Option<Box<FailureClaim>>,
    },
    Cancelled,
    /// Nothing was built: this worker cannot, another can.
    Useless,
}

/// What a build says of itself.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) spa: bool,
    pub(super) warnings: Vec<String>,
    pub(super) layer: LayerClaim,
    /// Modules that the next edition of the layer should have.
    pub(super) wants: Vec<String>,
    /// The same, as far as it can be had.
    pub(super) wish: Option<Wish>,
}

impl Job {
    /// The `PATH` of a script of the app: what its package depends on comes first.
    pub(super) fn search_path(&self, work: &Path, node: &Path) -> OsString {
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut folder = Some(Path::new(&self.app));
        while let Some(at) = folder {
            folders.push(work.join(at).join("node_modules/.bin"));
            folder = at.parent();
        }
        folders.extend(node.parent().map(Path::to_owned));
        folders.extend(["/usr/bin".into(), "/bin".into()]);
        // Only a path with a colon in it cannot be joined: then what the system has must do.
        std::env::join_paths(folders).unwrap_or_else(|_| "/usr/bin:/bin".into())
    }
}
