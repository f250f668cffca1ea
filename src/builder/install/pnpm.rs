//! How pnpm is called, and what it tells of a run that went well ([`super::failure`] reads the others).
//!
//! Invariant: no argument and no variable comes from a project. The environment is built from nothing; of the operator's, only what a
//! network needs (proxies, certificates) is passed on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The version that flags, settings and messages were checked against.
pub(super) const VERIFIED: &str = "12.21.0";
/// Certificates that the operator trusts besides the system's: files, and folders of them.
pub(super) const CERTIFICATES: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"];
/// What a network needs. In the sandbox the daemon's own proxy takes their place.
const PROXIES: [&str; 8] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];

/// One way to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The lockfile as it is, or failure.
    Frozen,
    /// The lockfile where it fits, resolving what it does not know. Without any difference it is as fast as [`Mode::Frozen`].
    Resolve,
    /// Like [`Mode::Resolve`] from the store and the metadata cache alone: when the registry cannot be reached.
    Offline,
}

/// `pnpm import`: turns the `package-lock.json` that we wrote into `pnpm-lock.yaml`.
pub(super) fn import_args(registry: &str) -> Vec<String> {
    ["import", "--ignore-pnpmfile", "--config.pm-on-fail=ignore", "--reporter=ndjson", "--registry", registry].map(str::to_owned).to_vec()
}

/// `pnpm install`. The flags repeat what our `pnpm-workspace.yaml` says: either alone would do.
pub(super) fn install_args(mode: Mode, registry: &str) -> Vec<String> {
    let flags: &[&str] = match mode {
        Mode::Frozen => &["--frozen-lockfile"],
        // Under CI it would be frozen otherwise.
        Mode::Resolve => &["--no-frozen-lockfile"],
        Mode::Offline => &["--no-frozen-lockfile", "--offline"],
    };
    let common = [
        "install",
        "--ignore-scripts",
        "--ignore-pnpmfile",
        "--no-runtime",
        "--trust-lockfile",
        "--config.pm-on-fail=ignore",
        "--reporter=ndjson",
        "--registry",
        registry,
    ];
    common.iter().chain(flags).map(|arg| (*arg).to_owned()).collect()
}

/// The whole environment. `home` is a directory of ours: pnpm finds no `config.yaml` there, and no `.npmrc` but ours.
/// `direct`: it has the machine's network. Values may hold proxy passwords then: never log them.
pub(super) fn environment(home: &Path, direct: bool, operator: impl Fn(&str) -> Option<OsString>) -> BTreeMap<String, OsString> {
    let from_operator = [&["PATH"][..], &CERTIFICATES, if direct { &PROXIES } else { &[] }].concat();
    let mut env: BTreeMap<String, OsString> = from_operator.into_iter().filter_map(|name| Some((name.to_owned(), operator(name)?))).collect();
    env.entry("PATH".to_owned()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
    for (name, dir) in [("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
        env.insert(name.to_owned(), home.join(dir).into());
    }
    env.insert("HOME".to_owned(), home.into());
    // One lost DNS answer holds pnpm for the resolver's 5 s, even after its work is done.
    for (name, value) in [("CI", "1"), ("NO_COLOR", "1"), ("LANG", "C.UTF-8"), ("RES_OPTIONS", "timeout:1 attempts:5")] {
        env.insert(name.to_owned(), value.into());
    }
    env
}

/// `.npmrc` for a registry that asks for a token. pnpm sends it to addresses below the registry's, and to no other.
pub(super) fn npmrc(registry: &str, token: &str) -> String {
    let below = registry.split_once(':').map_or(registry, |(_, below)| below).trim_end_matches('/');
    format!("{below}/:_authToken={token}\n")
}

/// Names a dependency set: SHA-256 over every file that we write into the install directory and over what else decides the result
/// (pnpm's, node's and the platform's names). Lengths go in too, so that no two sets run together.
pub(super) fn set_key(files: &BTreeMap<String, String>, identity: &BTreeMap<&str, &str>) -> String {
    let mut hash = Sha256::new();
    let parts = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).chain(identity.iter().map(|(name, value)| (*name, *value)));
    for (name, text) in parts {
        for part in [name, text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// One line of `--reporter=ndjson` for the build log; `None` for what only a progress bar needs.
pub(super) fn log_line(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| event[key].as_str();
    match (text("name")?, text("level")?) {
        ("pnpm", "info" | "warn" | "error") => text("message").map(str::to_owned),
        ("pnpm:deprecation", _) => Some(format!("{}@{} is deprecated: {}", text("pkgName")?, text("pkgVersion")?, text("deprecated")?)),
        ("pnpm:root", _) => Some(format!("+ {} {}", event["added"]["name"].as_str()?, event["added"]["version"].as_str()?)),
        ("pnpm:stats", _) => event["added"].as_u64().map(|added| format!("{added} packages added to the store's links")),
        _ => None,
    }
}

/// Whether a package of this `package.json` wants to run something when it is installed. (pnpm's own list of them is empty under
/// `--ignore-scripts`.)
pub(super) fn has_install_script(package_json: &str) -> bool {
    let package: Value = serde_json::from_str(package_json).unwrap_or_default();
    let scripts = ["preinstall", "install", "postinstall"];
    scripts.iter().any(|name| package["scripts"][name].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_built_from_nothing() {
        let operator = |name: &str| Some(OsString::from(format!("operator's {name}")));
        let env = environment(Path::new("/d/home"), true, operator);
        assert_eq!((env["HOME"].to_str(), env["HTTPS_PROXY"].to_str()), (Some("/d/home"), Some("operator's HTTPS_PROXY")));
        assert!(!env.keys().any(|name| name.starts_with("AZURE") || name.to_lowercase().starts_with("npm_")));
        assert_eq!(environment(Path::new("/d"), true, |_| None).len(), 10);
        assert!(!environment(Path::new("/d"), false, operator).contains_key("HTTPS_PROXY"));
    }

    #[test]
    fn install_scripts_and_log_lines() {
        assert!(has_install_script(r#"{"scripts":{"postinstall":"node install.js"}}"#));
        assert!(!has_install_script(r#"{"scripts":{"build":"x"}}"#) && !has_install_script(""));
        let line = r#"{"name":"pnpm:root","level":"debug","added":{"name":"react","version":"19.3.1"}}"#;
        assert_eq!(log_line(line).as_deref(), Some("+ react 19.3.1"));
        assert_eq!(log_line(r#"{"name":"pnpm:progress","level":"debug"}"#), None);
        assert_eq!(log_line("plain"), None);
    }

    #[test]
    fn keys_differ_with_every_part() {
        let files = |pairs: &[(&str, &str)]| pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let identity = BTreeMap::from([("pnpm", "12.21.0")]);
        let base = set_key(&files(&[("a", "bc")]), &identity);
        assert_eq!(base.len(), 64);
        assert_ne!(base, set_key(&files(&[("ab", "c")]), &identity));
        assert_ne!(base, set_key(&files(&[("a", "bc")]), &BTreeMap::from([("pnpm", "12.22.0")])));
    }

    #[test]
    fn a_token_is_for_the_registry_alone() {
        assert_eq!(npmrc("https://npm.corp:8443/all/", "abc"), "//npm.corp:8443/all/:_authToken=abc\n");
        assert_eq!(npmrc("http://r", "abc"), "//r/:_authToken=abc\n");
    }

    #[test]
    fn arguments_per_mode() {
        let args = install_args(Mode::Offline, "https://r/");
        assert!(args.contains(&"--ignore-scripts".to_owned()) && args.ends_with(&["--no-frozen-lockfile".to_owned(), "--offline".to_owned()]));
        assert_eq!(import_args("https://r/")[0], "import");
    }
}
