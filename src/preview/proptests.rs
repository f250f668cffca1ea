//! Addresses made at random: every answer is a regular file below the release, and every host below the preview domain is a preview's.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::resolve::{Request, Resolved, resolve};
use super::urls::Urls;
use crate::domain::{BuildId, ProjectId};

const FILES: &[&str] =
    &["index.html", "about.html", "docs/index.html", "a/b/c.js", "a/b/c.js.br", "a/b/c.js.gz", "a b.txt", ".env", ".well-known/x", "é.txt"];
/// What addresses are put together from.
const PIECES: &[&str] = &[
    "..",
    ".",
    "/",
    "//",
    "\\",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "%00",
    "%0a",
    "%",
    "%zz",
    "%+2",
    "%c3",
    "%C3%A9",
    "é",
    "a",
    "b",
    "c.js",
    "docs",
    "index.html",
    "about",
    ".html",
    ".br",
    "out",
    "secret",
    "loop",
    "folder",
    "folder-out",
    "fifo",
    ".env",
    "%2eenv",
    ".well-known",
    "x",
    " ",
    "%20",
    "proc",
    "self",
    "@",
    "?",
    "#",
];

/// A release with everything around and in it that must not be reached.
static TREE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("temp dir");
    let release = dir.path().join("release");
    for file in FILES {
        let path = release.join(file);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, file).expect("write");
    }
    fs::create_dir(dir.path().join("elsewhere")).expect("mkdir");
    for secret in ["secret", "elsewhere/index.html", "elsewhere/secret"] {
        fs::write(dir.path().join(secret), "secret").expect("write");
    }
    for (target, link) in [("../secret", "out"), ("loop", "loop"), ("a", "folder"), ("../elsewhere", "folder-out"), ("/proc/self/root", "a/proc")] {
        symlink(target, release.join(link)).expect("link");
    }
    rustix::fs::mknodat(rustix::fs::CWD, release.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("fifo");
    dir
});

fn host() -> impl Strategy<Value = String> {
    let pieces = [
        "demo",
        "a",
        "--",
        "-",
        ".",
        "..",
        ":",
        "8080",
        "localhost",
        "LOCALHOST",
        "00000000000000000000000001",
        "p-",
        "[::1]",
        "é",
        "\0",
        " ",
        "/",
        "@",
        "evil",
    ];
    vec(select(pieces.to_vec()), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_answer_is_a_file_of_the_release(pieces in vec(select(PIECES), 0..9), navigation: bool, spa: bool, brotli: bool, gzip: bool) {
        let path = pieces.concat();
        let release = TREE.path().canonicalize().expect("path").join("release");
        let Resolved::File(found) = resolve(&release, Request { path: &path, navigation, spa, brotli, gzip }).expect("no error of the disk") else {
            return Ok(());
        };
        let opened = fs::read_link(format!("/proc/self/fd/{}", found.file.as_raw_fd())).expect("a path");
        let below = opened.strip_prefix(&release).map_err(|_| TestCaseError::fail(format!("{path:?} led to {}", opened.display())))?;
        prop_assert!(found.metadata.is_file() && FILES.iter().any(|file| below.as_os_str() == *file), "{:?} led to {}", path, below.display());
        prop_assert!(!found.path.contains(".env") && !found.path.contains(".."), "{:?} led to {}", path, found.path);
        let suffix = match found.encoding { None => "", Some("br") => ".br", Some(_) => ".gz" };
        prop_assert_eq!(below.to_str().expect("UTF-8"), format!("{}{suffix}", found.path));
        prop_assert!(found.encoding.is_none() || brotli || gzip);
    }

    #[test]
    fn a_host_below_the_preview_domain_is_never_the_api(host in prop_oneof![host(), (host(), "[.]{0,2}").prop_map(|(label, dots)| format!("{label}.localhost{dots}:8080")), select(&["demo.localhost.", "00000000000000000000000001--demo.localhost.:1"][..]).prop_map(str::to_owned)]) {
        let urls = Urls::new("http://127.0.0.1:8080", "localhost:8080", 8080);
        let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let target = urls.host_target(&host);
        prop_assert_eq!(target.is_some(), name.trim_end_matches('.').ends_with(".localhost"), "{:?}", host);
        let Some(target) = target else { return Ok(()) };
        if let Ok(project) = target.label.parse::<ProjectId>() && project.label() == target.label {
            // Exactly the one name that we give out for it.
            let given = match target.build { None => urls.preview(&project), Some(build) => urls.permalink(&project, build) };
            prop_assert_eq!(given, format!("http://{name}:8080/"), "{:?}", host);
        }
    }

    #[test]
    fn addresses_that_are_given_out_lead_back(id in "[A-Za-z0-9][A-Za-z0-9_-]{0,63}", time in 0_u64..(1 << 48), random: u128) {
        let urls = Urls::new("https://build.example", "apps.example", 1);
        let (project, build) = (id.parse::<ProjectId>().expect("id"), BuildId::from_parts(time, random));
        let host = |url: &str| url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let target = urls.host_target(&host(&urls.preview(&project))).expect("a preview");
        prop_assert_eq!((target.label, target.build), (project.label(), None));
        let permalink = urls.permalink(&project, build);
        if !permalink.contains("/preview/") {
            let target = urls.host_target(&host(&permalink)).expect("a permalink");
            prop_assert_eq!((target.label, target.build), (project.label(), Some(build)));
        }
    }
}
