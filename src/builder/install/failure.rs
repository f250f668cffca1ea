//! Why a run of pnpm failed, and whose fault that is.
//!
//! Invariant: only what pnpm says of packages is the project's fault. Whatever is not understood is the machine's, so that an outage
//! never becomes a project's failed build.

use serde_json::Value;

use super::pins::split_descriptor;

/// How much of pnpm's own message is kept.
const MAX_MESSAGE_CHARS: usize = 2000;

/// What a failed run calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The project asks for what does not exist: its failure, kind `install`; never retried.
    Project,
    /// The lockfile does not fit or is broken: again without it.
    Lockfile,
    /// A package's bytes are not what the lockfile says: again without it, and say so loudly.
    Integrity,
    /// The registry did not answer or refused: infrastructure; retry later, or [`super::pnpm::Mode::Offline`].
    Registry,
    /// No space or inodes left: infrastructure; evict first.
    DiskFull,
    /// Anything else of this machine, or pnpm itself: infrastructure.
    Machine,
}

/// Why pnpm failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What to do about it.
    pub(super) cause: Cause,
    /// `ERR_PNPM_…`, where pnpm gave one.
    pub(super) code: Option<String>,
    /// For the user.
    pub(super) message: String,
    /// The package it is about.
    pub(super) package: Option<String>,
}

/// Dependencies could not be installed because of the registry, or of the way to it: no fault of the project, and worth
/// another try later.
#[derive(Debug, thiserror::Error)]
#[error("the registry did not answer as it should: {0}")]
pub struct Outage(pub(super) String);

/// Reads the failure from what a run with `--reporter=ndjson` wrote (to either stream).
pub(super) fn failure(output: &str) -> Failure {
    let error = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["level"] == "error");
    let Some(error) = error else {
        // Killed, or wrong arguments: pnpm itself writes plain text then.
        let plain: Vec<&str> = output.lines().filter(|line| !line.starts_with('{')).collect();
        let tail = plain[plain.len().saturating_sub(20)..].join("\n");
        let message = if tail.trim().is_empty() { "pnpm ended without saying why".to_owned() } else { tail.trim().to_owned() };
        return Failure { cause: Cause::Machine, code: None, message: shorten(&message), package: None };
    };
    let code = error["code"].as_str().map(str::to_owned);
    let message = error["message"].as_str().unwrap_or_default();
    let message = message.strip_prefix("installing dependencies: ").unwrap_or(message);
    Failure { cause: cause(code.as_deref().unwrap_or_default(), message), package: package(message), message: shorten(message), code }
}

fn cause(code: &str, message: &str) -> Cause {
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&["os error 28", "os error 122", "No space left"]) {
        return Cause::DiskFull;
    }
    let http = code.strip_prefix("ERR_PNPM_FETCH_").and_then(|status| status.parse::<u16>().ok());
    match code {
        "ERR_PNPM_TARBALL_INTEGRITY" => Cause::Integrity,
        "ERR_PNPM_OUTDATED_LOCKFILE" | "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH" | "ERR_PNPM_NO_LOCKFILE" | "ERR_PNPM_LOCKFILE_MISSING_DEPENDENCY" => {
            Cause::Lockfile
        }
        _ if code.contains("BROKEN_LOCKFILE") || says(&["incompatible with this version of pnpm"]) => Cause::Lockfile,
        // Missing or withheld: the package's. Everything else is between us and the registry.
        _ if http.is_some_and(|status| !matches!(status, 403 | 404 | 410 | 451)) => Cause::Registry,
        _ if code.contains("NETWORK_ERROR")
            || says(&["error sending request", "timed out", "Connection refused", "dns error", "error decoding response"]) =>
        {
            Cause::Registry
        }
        _ if code.contains("NO_OFFLINE") => Cause::Registry,
        "" if !says(&["Failed to resolve"]) => Cause::Machine,
        _ if says(&["os error"]) => Cause::Machine,
        _ => Cause::Project,
    }
}

/// `Failed to resolve NAME@SPEC`, else the tarball's URL.
fn package(message: &str) -> Option<String> {
    let resolving = message.rsplit_once("Failed to resolve ").map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default());
    if let Some((name, _)) = resolving.and_then(split_descriptor) {
        return Some(name.to_owned());
    }
    let (url, _) = message.split_once("/-/")?;
    let path = url.rsplit_once("://").map_or(url, |(_, path)| path).replace("%2F", "/").replace("%2f", "/");
    let mut parts = path.rsplit('/');
    let base = parts.next().filter(|base| !base.is_empty())?;
    let scope = parts.next().filter(|scope| scope.starts_with('@'));
    Some(scope.map_or_else(|| base.to_owned(), |scope| format!("{scope}/{base}")))
}

fn shorten(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: &str, message: &str) -> Failure {
        let line = serde_json::json!({"name": "pnpm", "level": "error", "code": code, "message": message});
        failure(&format!("{{\"name\":\"pnpm:stage\",\"level\":\"debug\"}}\n{line}\n"))
    }

    #[test]
    fn failures_as_pnpm_12_words_them() {
        let not_found = failed(
            "ERR_PNPM_FETCH_404",
            "GET https://registry.npmjs.org/@acme-zz9%2Fnope: Not Found - 404\n\nFailed to resolve @acme-zz9/nope@^1.0.0",
        );
        assert_eq!((not_found.cause, not_found.package.as_deref()), (Cause::Project, Some("@acme-zz9/nope")));
        let integrity = failed(
            "ERR_PNPM_TARBALL_INTEGRITY",
            "installing dependencies: Failed to verify the integrity of https://registry.npmjs.org/@s/left-pad/-/left-pad-1.3.0.tgz: Integrity check failed.",
        );
        assert_eq!((integrity.cause, integrity.package.as_deref()), (Cause::Integrity, Some("@s/left-pad")));
        assert!(integrity.message.starts_with("Failed to verify"));
        for (code, message, cause) in [
            ("ERR_PNPM_NO_MATCHING_VERSION", "No matching version found for react@^999.0.0\n\nFailed to resolve react@^999.0.0", Cause::Project),
            ("ERR_PNPM_OUTDATED_LOCKFILE", "installing dependencies: Cannot install with \"frozen-lockfile\"", Cause::Lockfile),
            ("ERR_PNPM_LOCKFILE_CONFIG_MISMATCH", "x", Cause::Lockfile),
            (
                "ERR_PNPM_RESOLVING_NPM_RESOLVER_NETWORK_ERROR",
                "tcp connect error: Connection refused (os error 111)\n\nFailed to resolve react@^19",
                Cause::Registry,
            ),
            ("ERR_PNPM_FETCH_503", "GET https://r/react: 503\n\nFailed to resolve react@1", Cause::Registry),
            ("ERR_PNPM_FETCH_401", "GET https://r/react: 401\n\nFailed to resolve react@1", Cause::Registry),
            ("", "Failed to write cafs: No space left on device (os error 28)", Cause::DiskFull),
            ("", "Failed to resolve dependency: \"@acme/ui@workspace:*\"\n\nFailed to resolve @acme/ui@workspace:*", Cause::Project),
            ("", "Permission denied (os error 13)", Cause::Machine),
        ] {
            assert_eq!(failed(code, message).cause, cause, "{code} {message}");
        }
    }

    #[test]
    fn silence_and_plain_text_are_the_machines() {
        assert_eq!(failure("{\"level\":\"debug\"}\n").message, "pnpm ended without saying why");
        assert_eq!(failure("error: unexpected argument '--x' found\n").cause, Cause::Machine);
    }
}
