//! Names, versions and specs that the npm registry can serve.
//!
//! Invariant: what passes here cannot name a host, a path, a repository or a script.

/// npm's own limit for a package name.
const MAX_NAME_CHARS: usize = 214;
const MAX_SPEC_CHARS: usize = 256;

/// Whether pnpm may be given this spec, else what to tell the user.
pub(super) fn check_spec(name: &str, spec: &str) -> Result<(), &'static str> {
    if spec.len() > MAX_SPEC_CHARS {
        return Err("the version is too long");
    }
    if name.starts_with("@jsr/") {
        return Err("only packages of the npm registry are installed");
    }
    if let Some((scheme, rest)) = spec.split_once(':') {
        return match scheme {
            "npm" => check_alias(rest),
            // A path in place of a range would reach outside of what was filtered.
            "workspace" if is_range(rest) && !has_archive_ending(rest) => Ok(()),
            "catalog"
                if !rest.starts_with('.') && !has_archive_ending(rest) && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) =>
            {
                Ok(())
            }
            "workspace" | "link" | "file" | "portal" => Err("files outside of the project's workspace cannot be used"),
            "http" | "https" => Err("packages come from the npm registry, not from a URL"),
            _ => Err("only versions, ranges and tags of the npm registry are installed (no git, no URL, no patch)"),
        };
    }
    if spec.contains('/') {
        return Err("packages come from the npm registry, not from a repository or a folder");
    }
    if has_archive_ending(spec) {
        return Err("packages come from the npm registry, not from a file");
    }
    if is_range(spec) { Ok(()) } else { Err("this is no version, range or tag") }
}

fn check_alias(target: &str) -> Result<(), &'static str> {
    let at = target.rfind('@').filter(|at| *at > 0);
    let (name, range) = at.map_or((target, ""), |at| (&target[..at], &target[at + 1..]));
    if is_package_name(name) && is_range(range) { check_spec(name, range) } else { Err("this is no package of the npm registry") }
}

/// Names of tarballs, which pnpm would read from the disk.
pub(super) fn has_archive_ending(spec: &str) -> bool {
    // Spaces around it say nothing: whoever reads it next may cut them off.
    let spec = spec.trim().to_ascii_lowercase();
    [".tgz", ".tar", ".tar.gz"].iter().any(|ending| spec.ends_with(ending))
}

/// Characters of semver ranges and dist-tags; neither `:` nor `/`, so no path and no URL, and no leading dot.
pub(super) fn is_range(spec: &str) -> bool {
    !spec.starts_with('.') && spec.chars().all(|c| c.is_ascii_alphanumeric() || " .-+_*^~<>=|,".contains(c))
}

/// An exact version, as lockfiles record them.
pub(super) fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers = core.split('.').filter(|part| !part.is_empty() && part.len() < 10 && part.bytes().all(|b| b.is_ascii_digit()));
    core.split('.').count() == 3
        && numbers.count() == 3
        && text.len() <= MAX_SPEC_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
}

/// npm's rules, and so never an absolute path, never `..`, never a hidden folder of `node_modules`.
pub(super) fn is_package_name(name: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with(['.', '_']) && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c));
    let well_formed = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, base)| part(scope) && part(base)),
        None => part(name),
    };
    well_formed && name.len() <= MAX_NAME_CHARS && !matches!(name, "node_modules" | "favicon.ico")
}

/// Follows a relative path below the project root; `None` when it leaves the project.
pub(super) fn join(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: &str) -> bool {
        check_spec("a", spec).is_err()
    }

    #[test]
    fn keeps_what_the_registry_serves() {
        for spec in [
            "^1.2.3",
            "1.x || >=2.5.0 <3",
            "latest",
            "*",
            "",
            "npm:react@^18",
            "npm:@scope/a@1.0.0",
            "catalog:",
            "catalog:build",
            "workspace:*",
            "workspace:^1.0.0",
        ] {
            assert!(!refused(spec), "{spec}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for spec in [
            "file:../x",
            "link:/etc",
            "git+ssh://git@host/a.git",
            "git://h/a",
            "github:user/repo",
            "user/repo",
            "user/repo#main",
            "https://x.y/a.tgz",
            "http://x",
            "patch:a@1#b",
            "portal:../a",
            "exec:./a.js",
            "./a",
            "../a",
            "~/a",
            "/abs",
            "a.tgz",
            "a.tgz ",
            "npm:a@x.tar ",
            "npm:../../x",
            "npm:a@file:/etc",
            "npm:@jsr/a@1",
            "workspace:../a",
            "jsr:@a/b",
            "gh:a@1",
            "node:22",
            "runtime:22",
            "git@github.com:a/b.git",
            "1\n2",
            "catalog:../x",
            "catalog:..",
            "catalog:a.tgz",
            "workspace:x.y.tgz",
        ] {
            assert!(refused(spec), "{spec}");
        }
    }

    #[test]
    fn names_follow_npm() {
        for name in ["react", "@scope/pkg", "JSONStream", "lodash.merge", "a-b_c~d"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["", "..", "../x", "/abs", "a/b", "@a", "@a/..", "@a/b/c", ".bin", "_x", "a b", "a\\b", "node_modules", "é"] {
            assert!(!is_package_name(name), "{name}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(join("apps/web", "../../packages/ui").as_deref(), Some("packages/ui"));
        assert_eq!(join("", "./a/./b/").as_deref(), Some("a/b"));
        assert_eq!(join("apps", "../../etc"), None);
    }
}
