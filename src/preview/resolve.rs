//! From a request's path to a file of a release.
//!
//! 1. decode the path once, refuse what no release can hold  2. hidden names are not there
//! 3. the file; for a folder its `index.html`; without an extension also `{path}.html`
//! 4. a navigation in a single-page app: `index.html`  5. not found
//!
//! Invariant: opening goes through `openat2` beneath the release without symlinks, so a mistake above fails closed.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

pub(super) const INDEX: &str = "index.html";
/// The one hidden folder that the web serves (RFC 8615).
const WELL_KNOWN: &str = ".well-known";
/// A missing file of these kinds is missing, whoever asks: a page in its place would hide the fault.
const ASSETS: &[&str] = &[
    "js",
    "mjs",
    "cjs",
    "css",
    "map",
    "json",
    "wasm",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "avif",
    "ico",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp3",
    "mp4",
    "webm",
    "ogg",
    "wav",
    "pdf",
    "txt",
    "xml",
    "webmanifest",
    "ts",
    "tsx",
    "jsx",
    "gz",
    "br",
    "zip",
];

/// What matters of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Below the preview's root, still percent-encoded, without a slash in front.
    pub path: &'a str,
    /// Somebody follows a link or types an address: the request says that it accepts `text/html`.
    pub navigation: bool,
    /// Unknown paths are routes of the app.
    pub spa: bool,
    /// May be answered with the `.br` copy.
    pub brotli: bool,
    /// May be answered with the `.gz` copy.
    pub gzip: bool,
}

/// What a request leads to.
#[derive(Debug)]
pub enum Resolved {
    /// A file.
    File(Box<Found>),
    /// A folder that was asked for without its slash.
    FolderWithoutSlash,
    /// Nothing.
    NotFound,
}

/// A file that was found, opened.
#[derive(Debug)]
pub struct Found {
    /// Its path in the release, decoded.
    pub path: String,
    /// The file, or a compressed copy of it.
    pub file: File,
    /// Of what was opened.
    pub metadata: Metadata,
    /// How it is compressed.
    pub encoding: Option<&'static str>,
}

/// Finds the file for a request. Blocking.
pub fn resolve(release: &Path, request: Request<'_>) -> io::Result<Resolved> {
    let Some(path) = decode(request.path) else { return Ok(Resolved::NotFound) };
    let root: OwnedFd = match File::open(release) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Resolved::NotFound),
        root => root?.into(),
    };
    let open = |path: &str| open_best(&root, path, request);
    if path.is_empty() || path.ends_with('/') {
        if let Some(found) = open(&format!("{path}{INDEX}"))? {
            return Ok(Resolved::File(Box::new(found)));
        }
    } else {
        if let Some(found) = open(&path)? {
            return Ok(Resolved::File(Box::new(found)));
        }
        if open(&format!("{path}/{INDEX}"))?.is_some() {
            return Ok(Resolved::FolderWithoutSlash);
        }
        if let Some(found) = open(&format!("{path}.html"))? {
            return Ok(Resolved::File(Box::new(found)));
        }
    }
    if request.spa
        && request.navigation
        && !is_asset(&path)
        && let Some(found) = open(INDEX)?
    {
        return Ok(Resolved::File(Box::new(found)));
    }
    Ok(Resolved::NotFound)
}

/// Steps 1 and 2: the decoded path, where a release could hold it.
fn decode(path: &str) -> Option<String> {
    let decoded = percent_decode(path)?;
    let hidden = |name: &str| name.starts_with('.') && name != WELL_KNOWN;
    let mut names = decoded.split('/').peekable();
    while let Some(name) = names.next() {
        // Only a slash at the end leaves an empty name.
        let empty_within = name.is_empty() && names.peek().is_some();
        if empty_within || hidden(name) || name.contains('\\') || name.chars().any(char::is_control) {
            return None;
        }
    }
    Some(decoded)
}

pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

fn is_asset(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').is_some_and(|(_, extension)| ASSETS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// The file, or the smallest copy of it that the client takes.
fn open_best(root: &OwnedFd, path: &str, request: Request<'_>) -> io::Result<Option<Found>> {
    let copies = [(request.brotli, ".br", "br"), (request.gzip, ".gz", "gzip")];
    // A copy counts only beside its file: the file itself must be there.
    let Some((file, metadata)) = open_regular(root, path)? else { return Ok(None) };
    for (_, suffix, encoding) in copies.iter().filter(|(accepted, ..)| *accepted) {
        if let Some((file, metadata)) = open_regular(root, &format!("{path}{suffix}"))? {
            return Ok(Some(Found { path: path.to_owned(), file, metadata, encoding: Some(encoding) }));
        }
    }
    Ok(Some(Found { path: path.to_owned(), file, metadata, encoding: None }))
}

fn open_regular(root: &OwnedFd, path: &str) -> io::Result<Option<(File, Metadata)>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file: File = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => fd.into(),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO | Errno::INVAL) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn release() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp dir");
        let files = [
            "index.html",
            "about.html",
            "docs/index.html",
            "assets/app-BxY12_ab.js",
            "assets/app-BxY12_ab.js.br",
            "a b.txt",
            "ü.txt",
            ".env",
            ".well-known/x",
        ];
        for file in files {
            let path = dir.path().join("release").join(file);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, file).expect("write");
        }
        fs::write(dir.path().join("secret"), "").expect("write");
        std::os::unix::fs::symlink("../secret", dir.path().join("release/link")).expect("symlink");
        dir
    }

    fn ask(dir: &tempfile::TempDir, path: &str, navigation: bool, spa: bool) -> String {
        let request = Request { path, navigation, spa, brotli: true, gzip: true };
        match resolve(&dir.path().join("release"), request).expect("io") {
            Resolved::File(found) => format!("{}{}", found.path, found.encoding.map(|e| format!(" ({e})")).unwrap_or_default()),
            Resolved::FolderWithoutSlash => "slash".into(),
            Resolved::NotFound => "404".into(),
        }
    }

    #[test]
    fn files_folders_and_routes() {
        let dir = release();
        let cases = [
            ("", false, "index.html"),
            ("about", false, "about.html"),
            ("docs", false, "slash"),
            ("docs/", false, "docs/index.html"),
            ("assets/app-BxY12_ab.js", false, "assets/app-BxY12_ab.js (br)"),
            ("a%20b.txt", false, "a b.txt"),
            ("%C3%BC.txt", false, "ü.txt"),
            ("items/42", true, "index.html"),
            ("users/john.doe", true, "index.html"),
            ("items/42", false, "404"),
            ("assets/gone-12345678.js", true, "404"),
            ("logo.png", true, "404"),
            (".well-known/x", false, ".well-known/x"),
        ];
        for (path, navigation, expected) in cases {
            assert_eq!(ask(&dir, path, navigation, true), expected, "{path}");
        }
        assert_eq!(ask(&dir, "items/42", true, false), "404", "not a single-page app");
    }

    #[test]
    fn nothing_outside_is_reached() {
        let dir = release();
        for path in [
            ".env",
            "../secret",
            "..",
            "../secret",
            "%2e%2e/secret",
            "docs/../../secret",
            "link",
            "%2e%2e%2fsecret",
            "a%00b",
            "%zz",
            "%",
            "//etc/passwd",
            "docs//index.html",
            "%5c..%5csecret",
        ] {
            assert_eq!(ask(&dir, path, false, true), "404", "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered_from_inside(path in "[a-z./%2e\\\\~:]{0,24}") {
            let dir = release();
            prop_assert!(!ask(&dir, &path, true, true).contains("secret"));
        }
    }
}
