//! The `pnpm-workspace.yaml` that *we* write.
//!
//! Invariant: every setting in it is ours but globs (already expanded), catalogs and overrides (already filtered). So no project
//! chooses a directory, a host, a hook or a build script.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::workspace::Workspace;

/// Versions younger than this are taken only when nothing older matches: most hijacked releases are found within a day.
const MINIMUM_RELEASE_AGE_MINUTES: u32 = 24 * 60;

/// How `node_modules` is laid out. All of them also offer undeclared packages to the project's own modules, as npm does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// Links into the shared store: about 100 files, warm in 50 ms. A package that imports what it does not declare fails.
    Global,
    /// pnpm's own tree inside the layer: such packages work.
    Isolated,
    /// npm's flat tree: for packages that expect files of others at `node_modules/x`. Can double React in monorepos.
    Hoisted,
}

impl Layout {
    /// The name, in the database and in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Isolated => "isolated",
            Self::Hoisted => "hoisted",
        }
    }

    /// Reads a name back.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Global, Self::Isolated, Self::Hoisted].into_iter().find(|layout| layout.as_str() == name)
    }

    /// The layout to try where an import fails that this one does not offer. Project code finds every package in the
    /// first two, so only the flat tree can offer it more.
    pub(crate) fn next(self, asked_by_project: bool) -> Option<Self> {
        match self {
            Self::Global if !asked_by_project => Some(Self::Isolated),
            Self::Global | Self::Isolated => Some(Self::Hoisted),
            Self::Hoisted => None,
        }
    }
}

/// Where the installer works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'a> {
    /// The layout.
    pub(super) layout: Layout,
    /// `{data_dir}/shared-store`, absolute.
    pub(super) store_dir: &'a Path,
    /// pnpm's metadata cache, absolute, beside the store.
    pub(super) cache_dir: &'a Path,
    /// `build.registry`.
    pub(super) registry: &'a str,
}

/// Our `pnpm-workspace.yaml` (JSON, which YAML includes). Every key was checked against pnpm 12.21, which warns of unknown ones.
pub(super) fn emit(settings: &Settings<'_>, workspace: &Workspace, members: &BTreeSet<String>) -> String {
    let (store, linker) = match settings.layout {
        Layout::Global => ("global", "isolated"),
        Layout::Isolated => ("project", "isolated"),
        Layout::Hoisted => ("project", "hoisted"),
    };
    let mut out = json!({
        "packages": members,
        "storeDir": settings.store_dir, "cacheDir": settings.cache_dir, "registry": settings.registry,
        "virtualStoreType": store, "nodeLinker": linker,
        // Undeclared imports are normal (4 of 28 real projects); as links they cost nothing.
        "publicHoistPattern": ["*"],
        // Links to members would lead out of the shared `node_modules`.
        "hoistWorkspacePackages": false,
        // npm and yarn workspaces name members by version, without `workspace:`.
        "linkWorkspacePackages": true,
        "ignoreScripts": true, "ignorePnpmfile": true, "strictDepBuilds": false, "sideEffectsCache": false,
        "pmOnFail": "ignore", "engineStrict": false, "updateNotifier": false, "verifyDepsBeforeRun": false,
        "autoInstallPeers": true, "strictPeerDependencies": false,
        "blockExoticSubdeps": true,
        // Set explicitly, the age is strict unless that is switched off: then a version younger than it would fail the install.
        "minimumReleaseAge": MINIMUM_RELEASE_AGE_MINUTES, "minimumReleaseAgeStrict": false,
        // Only lockfiles that we filtered get here.
        "trustLockfile": true, "optimisticRepeatInstall": false,
        // pnpm's own waits (10 to 60 s) held an install up for 140 s when the network was gone.
        "fetchRetries": 2, "fetchRetryMintimeout": 500, "fetchRetryMaxtimeout": 3000, "fetchTimeout": 30_000,
    });
    if !workspace.catalogs.is_empty() {
        let (default, named): (Map<_, _>, Map<_, _>) =
            workspace.catalogs.iter().map(|(name, entries)| (name.clone(), json!(entries))).partition(|(name, _)| name == "default");
        out["catalog"] = default.into_iter().next().map_or_else(|| json!({}), |(_, entries)| entries);
        out["catalogs"] = Value::Object(named);
    }
    if !workspace.overrides.is_empty() {
        out["overrides"] = json!(workspace.overrides);
    }
    out.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Manifest;
    use super::super::workspace::parse;
    use super::*;

    #[test]
    fn the_emitted_file_is_ours() {
        let settings =
            Settings { layout: Layout::Global, store_dir: Path::new("/d/shared-store"), cache_dir: Path::new("/d/c"), registry: "https://r/" };
        let text = emit(&settings, &parse(Some("catalog: {x: ^1}"), &Manifest::default()).expect("workspace"), &BTreeSet::from(["a".to_owned()]));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["virtualStoreType"], &value["packages"][0], &value["catalog"]["x"]), (&json!("global"), &json!("a"), &json!("^1")));
        assert_eq!((&value["ignoreScripts"], &value["storeDir"]), (&json!(true), &json!("/d/shared-store")));
    }
}
