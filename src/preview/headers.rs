//! The headers of what a preview serves. Pure; nginx's configuration says the same.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// For files whose name changes with their content.
pub const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";
/// The same for what only its visitor may see.
pub const CACHE_FOREVER_PRIVATE: &str = "private, max-age=31536000, immutable";
/// For everything else: ask again each time, and be told 304.
pub const CACHE_REVALIDATE: &str = "no-cache";
/// Characters of the hash in a name such as `index-BxY12_ab.js`.
const HASH_CHARS: usize = 8;

/// Where `server.embed_origins` is empty: development on one machine. No `[::1]`: CSP knows no IPv6 addresses, and browsers
/// complain of one in the console of every preview.
const LOOPBACK_ORIGINS: &str = "http://localhost:* http://*.localhost:* http://127.0.0.1:* https://localhost:* https://*.localhost:*";

/// The `Content-Security-Policy` of previews: who may show them in a frame.
pub fn frame_ancestors(embed_origins: &[String]) -> String {
    let origins = if embed_origins.is_empty() { LOOPBACK_ORIGINS.to_owned() } else { embed_origins.join(" ") };
    format!("frame-ancestors 'self' {origins}")
}

/// The `Content-Type` of a file, by its name.
pub fn content_type(path: &str) -> String {
    if [".js", ".mjs", ".cjs"].iter().any(|ending| path.ends_with(ending)) {
        // RFC 9239; the table of `mime_guess` is older.
        return "text/javascript; charset=utf-8".to_owned();
    }
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let text = mime.type_() == "text"
        || mime.subtype() == "javascript"
        || mime.subtype() == "json"
        || mime.suffix().is_some_and(|s| s == "xml" || s == "json");
    if text { format!("{}; charset=utf-8", mime.essence_str()) } else { mime.essence_str().to_owned() }
}

/// How long a file may be kept.
pub fn cache_control(path: &str) -> &'static str {
    if is_hashed(path) { CACHE_FOREVER } else { CACHE_REVALIDATE }
}

/// Whether a name carries the hash of its content, as bundlers write it: `assets/{name}-{8 characters}.{ext}`. An
/// ordinary word of eight letters (`icon-download.svg`) is none: a hash has a digit, a capital, `_` or `-` in it.
pub fn is_hashed(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let in_assets = folder.split('/').any(|name| name == "assets");
    let Some(at) = stem.len().checked_sub(HASH_CHARS).filter(|at| stem.is_char_boundary(*at)) else { return false };
    let (before, hash) = stem.split_at(at);
    in_assets
        && before.len() > 1
        && before.ends_with(['-', '.'])
        && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && hash.bytes().any(|b| !b.is_ascii_lowercase())
}

/// The validator of a file: nginx's, from its time and size. Times stand for contents, see `release::scan`.
pub fn etag(metadata: &Metadata) -> String {
    format!("\"{:x}-{:x}\"", metadata.mtime(), metadata.size())
}

/// Whether an `If-None-Match` header names `etag` (RFC 9110 §13.1.2: weak comparison).
pub fn matches(if_none_match: &str, etag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|candidate| candidate == "*" || candidate.trim_start_matches("W/") == etag.trim_start_matches("W/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_names_are_kept_for_ever() {
        for hashed in ["assets/index-BxY12_ab.js", "assets/logo-D3adBeef.svg", "x/assets/a-12345678.css", "assets/index-BxY12_ab.js.map"] {
            assert!(is_hashed(hashed), "{hashed}");
        }
        for plain in ["index.html", "assets/icon-download.svg", "assets/logo.svg", "index-BxY12_ab.js", "assets/BxY12_ab.js", "assets/ü-1234567.js"]
        {
            assert!(!is_hashed(plain), "{plain}");
        }
    }

    #[test]
    fn types_carry_a_charset_where_they_are_text() {
        assert_eq!(content_type("a.html"), "text/html; charset=utf-8");
        assert_eq!(content_type("a.js"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("a.mjs"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("a.svg"), "image/svg+xml; charset=utf-8");
        assert_eq!(content_type("a.json"), "application/json; charset=utf-8");
        assert_eq!(content_type("a.wasm"), "application/wasm");
        assert_eq!(content_type("a.woff2"), "font/woff2");
        assert_eq!(content_type("a"), "application/octet-stream");
    }

    #[test]
    fn validators() {
        assert!(matches("\"a\", W/\"b\"", "\"b\"") && matches("*", "\"x\"") && !matches("\"a\"", "\"b\""));
    }
}
