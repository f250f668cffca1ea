//! Puts the preview client, and scripts that the operator configured, first into the head of every page of a release.
//!
//! [`place`] decides where, [`inject`] is pure; [`Injection::apply`] does it to a scanned output before it is published. Whoever
//! serves a release serves its files as they are, so what pages are to have must be in them.
//!
//! Invariant: nothing of a page is lost or changed but an earlier tag of ours, so a second time changes nothing. A page that cannot be read is
//! left as it is.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::scan::{FILE_MODE, content_time};
use crate::domain::{BuildId, ContentHash, ProjectId};

/// Larger pages are left as they are: bytes. What a person wrote has some kilobytes, what was generated some hundred.
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What each of our tags begins with.
const MARK: &[u8] = b"<script data-previewd ";
const TAG_END: &[u8] = b"</script>";
/// Where in a tag the build stands.
const BUILD: &str = " data-build=\"";
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Byte order marks of UTF-16: none of the below would be found in such a page.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// What a page is called while it is written; a build that wants to be in the way would have to guess the rest.
const ASIDE_PREFIX: &str = ".previewd-";

/// What pages get.
#[derive(Debug, Clone, Default)]
pub struct Injection {
    /// The preview client's address below the preview's root; `None` where `preview.inject` is false.
    pub client: Option<String>,
    /// Addresses of `preview.scripts`.
    pub scripts: Vec<String>,
}

impl Injection {
    /// Injects into the pages among `files`, which lie under `root` and were scanned. By how many bytes they grew. Blocking.
    pub fn apply(&self, root: &Path, files: &[PathBuf], project: &ProjectId, build: BuildId) -> io::Result<u64> {
        let mut grown = 0;
        if self.client.is_none() && self.scripts.is_empty() {
            return Ok(grown);
        }
        for file in files.iter().filter(|file| is_page(file)).map(|file| root.join(file)) {
            if fs::symlink_metadata(&file)?.len() > PAGE_BYTES_MAX {
                continue;
            }
            let html = fs::read(&file)?;
            if let Some(with) = inject(&html, |policy| self.tags(project, build, policy)) {
                write(&file, &with)?;
                grown += (with.len() as u64).saturating_sub(html.len() as u64);
            }
        }
        Ok(grown)
    }

    /// The tags of a page; `policy`: it has a Content-Security-Policy of its own.
    fn tags(&self, project: &ProjectId, build: BuildId, policy: bool) -> String {
        let policy = if policy { " data-csp" } else { "" };
        let client = self.client.iter().map(|src| format!("<script data-previewd src=\"{}\"{BUILD}{build}\"{policy}></script>", escape(src)));
        let scripts = self.scripts.iter().map(|src| format!("<script data-previewd src=\"{}\" data-project=\"{project}\"></script>", escape(src)));
        client.chain(scripts).collect()
    }
}

/// A page's text without the build that our tag names: what is the same in two releases is the same without it.
pub(super) fn without_build(html: &str) -> String {
    let Some(at) = html.find(BUILD).map(|at| at + BUILD.len()) else { return html.to_owned() };
    let Some(end) = html[at..].find('"') else { return html.to_owned() };
    format!("{}{}", &html[..at], &html[at + end..])
}

/// The tag for a page of our own, which stands in for one of `build`.
pub fn stand_in(client: &str, build: BuildId) -> String {
    format!("<script data-previewd src=\"{}\"{BUILD}{build}\" data-stand-in=\"1\"></script>", escape(client))
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("html") || ending.eq_ignore_ascii_case("htm"))
}

/// Written aside and renamed: the file may be linked from another release. Time and mode as a scan gives them.
fn write(file: &Path, html: &[u8]) -> io::Result<()> {
    let aside = file.with_file_name(format!("{ASIDE_PREFIX}{:016x}", rand::random::<u64>()));
    let mut out = File::options().write(true).create_new(true).open(&aside)?;
    out.write_all(html)?;
    out.set_permissions(Permissions::from_mode(FILE_MODE))?;
    out.set_times(FileTimes::new().set_modified(content_time(&ContentHash::of(html))))?;
    fs::rename(aside, file)
}

/// `html` with `tags` first in its head, in place of earlier ones of ours. `tags` is told whether the page has a
/// Content-Security-Policy. `None` where nothing changes.
fn inject(html: &[u8], tags: impl FnOnce(bool) -> String) -> Option<Vec<u8>> {
    if UTF_16.iter().any(|mark| html.starts_with(mark)) {
        return None;
    }
    let at = place(html);
    let (before, mut after) = html.split_at(at);
    while after.starts_with(MARK) {
        after = &after[find(after, TAG_END)? + TAG_END.len()..];
    }
    let with = [before, tags(has_policy(html)).as_bytes(), after].concat();
    (with != html).then_some(with)
}

/// Where the first element of the head goes: after `<head>`, or where a browser would put one that is not written.
fn place(html: &[u8]) -> usize {
    let mut at = if html.starts_with(BOM) { BOM.len() } else { 0 };
    // After the last of what has to come first; what a browser puts in front of the head by itself goes behind the tag.
    let mut place = at;
    loop {
        at += html[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = &html[at..];
        let (length, comes_first) = if rest.starts_with(b"<!--") {
            (comment(rest), false)
        } else if rest.starts_with(b"<!") || rest.starts_with(b"<?") {
            (find(rest, b">").map(|end| end + 1), true)
        } else if is_tag(rest, b"html") {
            (tag(rest), true)
        } else if is_tag(rest, b"head") {
            return tag(rest).map_or(place, |length| at + length);
        } else {
            return place;
        };
        let Some(length) = length else { return place };
        at += length;
        if comes_first {
            place = at;
        }
    }
}

/// Bytes of the comment that `html` begins with (HTML Standard, "Comments": `<!-->` and `<!--->` are whole ones).
fn comment(html: &[u8]) -> Option<usize> {
    let body = &html[4..];
    if let Some(length) = [&b">"[..], b"->"].iter().find(|end| body.starts_with(end)).map(|end| end.len()) {
        return Some(4 + length);
    }
    [&b"-->"[..], b"--!>"].iter().filter_map(|end| Some(find(body, end)? + end.len())).min().map(|length| 4 + length)
}

fn is_tag(html: &[u8], name: &[u8]) -> bool {
    let after = 1 + name.len();
    html.first() == Some(&b'<')
        && html.get(1..after).is_some_and(|found| found.eq_ignore_ascii_case(name))
        && html.get(after).is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))
}

/// Bytes of the tag that `html` begins with; a `>` in an attribute's quotes does not end it.
fn tag(html: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in html.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Whether a `meta` element sets a policy.
fn has_policy(html: &[u8]) -> bool {
    let mut rest = html;
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        rest = &rest[at..];
        if is_tag(rest, b"meta") {
            let meta = rest[..tag(rest).unwrap_or(rest.len())].to_ascii_lowercase();
            if find(&meta, b"http-equiv").is_some() && find(&meta, b"content-security-policy").is_some() {
                return true;
            }
        }
        rest = &rest[1..];
    }
    false
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests;
