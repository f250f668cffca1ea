//! The preview client: the script that every page of a preview has, and the part of it that draws the overlay.
//!
//! It is put together once, from the files in `client/`: without comments, for whoever reads them reads them there, and with what the
//! configuration says.
//!
//! Invariant: an address with the right version stands for the same bytes for ever; any other is asked for again each time.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::cache::SmallFile;
use crate::domain::ContentHash;

/// Where all of it is, below a preview's root.
pub const FOLDER: &str = "_previewd/";
/// Names below it.
const CLIENT: &str = "client.js";
const OVERLAY: &str = "overlay.js";
/// Characters of a version.
const VERSION_CHARS: usize = 16;
/// It is compressed once, at start.
const BROTLI_QUALITY: u32 = 11;
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 4096;

/// In this order, in one function.
const PARTS: [&str; 6] = [
    include_str!("client/setup.js"),
    include_str!("client/inspect.js"),
    include_str!("client/bridge.js"),
    include_str!("client/verdict.js"),
    include_str!("client/keep.js"),
    include_str!("client/live.js"),
];

/// One file in each of its forms.
#[derive(Debug)]
struct Script {
    plain: Arc<SmallFile>,
    gzip: Arc<SmallFile>,
    brotli: Arc<SmallFile>,
}

/// What a browser is given, as it is sent.
#[derive(Debug)]
pub struct PreviewClient {
    /// For a live release.
    live: Script,
    /// For a retained build, which never changes.
    retained: Script,
    overlay: Script,
    version: String,
}

impl PreviewClient {
    /// For previews that may be framed by `embed_origins`; by none: by any origin of this machine.
    pub fn new(embed_origins: &[String]) -> Self {
        let [live, retained] =
            [true, false].map(|live| wrapped(&format!("const CONFIG={};\n{}", json!({ "origins": embed_origins, "live": live }), PARTS.concat())));
        let overlay = wrapped(include_str!("client/overlay.js"));
        let hash = ContentHash::of([&live, &retained, &overlay].map(String::as_str).concat()).to_string();
        let version = hash[..VERSION_CHARS].to_owned();
        let script = |name, text: String, kind: &str| Script::new(name, text.into_bytes(), &format!("{kind}{version}"));
        Self { live: script(CLIENT, live, "l"), retained: script(CLIENT, retained, "r"), overlay: script(OVERLAY, overlay, "o"), version }
    }

    /// The address that pages name, from a preview's root on.
    pub fn address(&self) -> String {
        format!("/{FOLDER}{CLIENT}?v={}", self.version)
    }

    /// The file `name` below [`FOLDER`], and whether `query` names its version.
    pub fn file(&self, name: &str, query: &str, live: bool, brotli: bool, gzip: bool) -> Option<(Arc<SmallFile>, bool)> {
        let script = match name {
            CLIENT if live => &self.live,
            CLIENT => &self.retained,
            OVERLAY => &self.overlay,
            _ => return None,
        };
        let file = match (brotli, gzip) {
            (true, _) => &script.brotli,
            (false, true) => &script.gzip,
            (false, false) => &script.plain,
        };
        Some((file.clone(), query.strip_prefix("v=") == Some(&self.version)))
    }
}

impl Script {
    fn new(path: &str, content: Vec<u8>, version: &str) -> Self {
        let file = |content: Vec<u8>, encoding: Option<&'static str>| {
            let etag = format!("\"{version}{}\"", encoding.map(|name| format!("-{name}")).unwrap_or_default());
            Arc::new(SmallFile { path: path.to_owned(), etag, encoding, content: Bytes::from(content) })
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
        // Writing to memory does not fail.
        let _ = gzip.write_all(&content).and_then(|()| brotli.write_all(&content));
        let (gzip, brotli) = (file(gzip.finish().unwrap_or_default(), Some("gzip")), file(brotli.into_inner(), Some("br")));
        Self { plain: file(content, None), gzip, brotli }
    }
}

/// A script in a scope of its own, without lines that are comments and without indentation. No text in the files spans lines where that matters.
fn wrapped(script: &str) -> String {
    let is_comment = |line: &&str| ["//", "/**", "* ", "*/"].iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line)).collect();
    format!("(()=>{{'use strict';\n{}\n}})();\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's limit, compressed as it is sent.
    const CLIENT_BYTES_MAX: usize = 6_000;

    #[test]
    fn it_is_small() {
        let client = PreviewClient::new(&["https://chat.example".to_owned()]);
        let (sent, _) = client.file(CLIENT, "", true, true, true).expect("there is one");
        assert!(sent.content.len() <= CLIENT_BYTES_MAX, "{} bytes", sent.content.len());
        let (overlay, _) = client.file(OVERLAY, "", true, true, true).expect("there is one");
        assert!(overlay.content.len() <= 2_000, "{} bytes", overlay.content.len());
    }

    #[test]
    fn a_version_stands_for_its_bytes() {
        let [one, other] = [&[][..], &["https://chat.example".to_owned()]].map(PreviewClient::new);
        assert_ne!(one.address(), other.address());
        let query = one.address().rsplit_once('?').expect("a query").1.to_owned();
        let of = |name: &str, query: &str, live| one.file(name, query, live, false, false).map(|(file, fixed)| (file.etag.clone(), fixed));
        assert!(of(CLIENT, &query, true).expect("client").1 && !of(CLIENT, "v=other", true).expect("client").1);
        assert_ne!(of(CLIENT, &query, true), of(CLIENT, &query, false));
        assert_eq!(of("client.mjs", &query, true), None);
        let text = |live| String::from_utf8(one.file(CLIENT, "", live, false, false).expect("client").0.content.to_vec()).expect("utf-8");
        assert!(text(true).contains("\"live\":true") && text(false).contains("\"live\":false") && !text(true).contains("\n//"));
    }
}
