//! Where things lie under `server.data_dir` (API.md, "On disk"): names only, nothing is touched.
//!
//! Invariant: no other file of the daemon puts such a path together.

use std::path::{Path, PathBuf};

use super::{BuildId, ProjectId};

/// The folder of label links.
const LABELS: &str = "labels";

/// The root of everything that the daemon writes.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// `root` should be absolute: children run in other directories.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The generated bearer token (mode 0600).
    pub fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The bound address, as text.
    pub fn listen(&self) -> PathBuf {
        self.0.join("listen")
    }

    /// Held locked by the one daemon that uses this directory.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The SQLite database.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.db")
    }

    /// pnpm's store; only the installer writes it.
    pub fn shared_store(&self) -> PathBuf {
        self.0.join("shared-store")
    }

    /// All layers.
    pub fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    /// What of a layer's edition browsers get: its modules.
    pub fn layer_public(&self, edition: &str) -> PathBuf {
        self.layers().join(edition).join("public")
    }

    /// Home of the installer where sandboxes are off; no build's mount shows it.
    pub fn installer_home(&self) -> PathBuf {
        self.0.join("installer")
    }

    /// The daemon's own scripts, written out at start for the sandbox to read.
    pub fn runtime(&self) -> PathBuf {
        self.0.join("runtime")
    }

    /// The `/etc` that sandboxed children see.
    pub fn sandbox_etc(&self) -> PathBuf {
        self.runtime().join("etc")
    }

    /// Where builds are made: a folder for each worker, with what it sees of its project and what it writes.
    pub fn workers(&self) -> PathBuf {
        self.0.join("workers")
    }

    /// All projects.
    pub fn projects(&self) -> PathBuf {
        self.0.join("projects")
    }

    /// One project's directory.
    pub fn project(&self, id: &ProjectId) -> ProjectDir {
        ProjectDir { root: self.projects().join(id.as_str()), id: id.clone() }
    }

    /// Links by which nginx finds projects whose label is a hash.
    pub fn labels(&self) -> PathBuf {
        self.0.join(LABELS)
    }
}

/// One project's directory, `projects/{id}`.
#[derive(Debug, Clone)]
pub struct ProjectDir {
    root: PathBuf,
    id: ProjectId,
}

impl ProjectDir {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The link `labels/{label}` and what it has to say, where the label is not the id: nginx cannot hash.
    pub fn label_link(&self) -> Option<(PathBuf, PathBuf)> {
        let (label, folder) = (self.id.label(), self.root.file_name()?);
        if label == self.id.as_str() {
            return None;
        }
        let projects = self.root.parent()?;
        Some((projects.with_file_name(LABELS).join(label), Path::new("..").join(projects.file_name()?).join(folder)))
    }

    /// Sources, as synced.
    pub fn frontend(&self) -> PathBuf {
        self.root.join("frontend")
    }

    /// The manifest of the sources.
    pub fn manifest(&self) -> PathBuf {
        self.root.join(".file-hashes.json")
    }

    /// There from before the first change of a sync to the sources until its manifest is written.
    pub fn sync_intent(&self) -> PathBuf {
        self.root.join(".sync-intent")
    }

    /// Files on their way into the sources.
    pub fn incoming(&self) -> PathBuf {
        self.root.join(".incoming")
    }

    /// The status object.
    pub fn build_status(&self) -> PathBuf {
        self.root.join(".build-status")
    }

    /// All releases, and each build's log beside them.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// The immutable output of one build.
    pub fn release(&self, build: BuildId) -> PathBuf {
        self.releases().join(build.to_string())
    }

    /// One build's output while it is made.
    pub fn release_aside(&self, build: BuildId) -> PathBuf {
        self.releases().join(format!(".tmp-{build}"))
    }

    /// The source maps of one build, beside its release: they are not served.
    pub fn maps(&self, build: BuildId) -> PathBuf {
        self.releases().join(format!("{build}.maps"))
    }

    /// One build's log.
    pub fn log(&self, build: BuildId) -> PathBuf {
        self.releases().join(format!("{build}.log"))
    }

    /// Symlink to the live release.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// Symlink to the newest build's log.
    pub fn build_log(&self) -> PathBuf {
        self.root.join("build.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hashed_label_needs_a_link() {
        let data = DataDir::new("/data");
        let link = |id: &str| data.project(&id.parse().expect("id")).label_link();
        assert_eq!(link("demo"), None);
        // A project's id may have the form of a hash: its label is another one.
        for hashed in ["Demo", "p-riwmazz3drbigfp6qtab"] {
            let id: ProjectId = hashed.parse().expect("id");
            assert_eq!(link(hashed), Some((data.labels().join(id.label()), Path::new("../projects").join(hashed))), "{hashed}");
        }
    }
}
