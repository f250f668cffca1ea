//! How a file of a release is answered: conditional, in part, rewritten, whole.
//!
//! Invariant: whatever is sent carries the validator of exactly those bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use http_range::HttpRange;
use tokio_util::io::ReaderStream;

use crate::preview::headers::{CACHE_FOREVER, cache_control, content_type, etag, matches};
use crate::preview::resolve::Found;
use crate::preview::rewrite::for_prefix;

/// Files up to this size are read whole, at once, where they are opened.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes read at once of larger ones.
const CHUNK_BYTES: usize = 64 * 1024;
/// A page longer than this is served as it is in path mode.
const REWRITE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What is answered, once the disk was asked.
pub(super) struct Representation {
    headers: Headers,
    pub(super) status: StatusCode,
    body: Body,
}

enum Body {
    Whole(Bytes),
    Part(File, u64),
    None,
}

struct Headers {
    etag: String,
    content_type: String,
    cache: &'static str,
    encoding: Option<&'static str>,
    range: Option<String>,
    length: u64,
}

/// Whether a file is a page, which path mode rewrites.
pub(super) fn is_page(path: &str) -> bool {
    path.ends_with(".html") || path.ends_with(".htm")
}

/// What the client has already, or wants a part of.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    if_none_match: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { if_none_match: text(header::IF_NONE_MATCH), range: text(header::RANGE), if_range: text(header::IF_RANGE) }
    }

    /// A part counts bytes of the file itself, so it gets no compressed copy.
    pub(super) fn allow_compressed(&self) -> bool {
        self.range.is_none()
    }
}

/// Reads what a request for a file is answered with. `prefix` is path mode's; `permanent` an address whose bytes never change. Blocking.
pub(super) fn represent(mut found: Found, prefix: Option<&str>, permanent: bool, conditions: &Conditions) -> io::Result<Representation> {
    let rewritten = prefix.filter(|_| is_page(&found.path) && found.metadata.len() <= REWRITE_BYTES_MAX);
    let mut tag = etag(&found.metadata);
    if rewritten.is_some() {
        tag.insert_str(tag.len() - 1, "-p");
    }
    let mut headers = Headers {
        content_type: content_type(&found.path),
        cache: if permanent { CACHE_FOREVER } else { cache_control(&found.path) },
        encoding: found.encoding,
        range: None,
        length: found.metadata.len(),
        etag: tag,
    };
    if conditions.if_none_match.as_deref().is_some_and(|candidates| matches(candidates, &headers.etag)) {
        return Ok(Representation { headers, status: StatusCode::NOT_MODIFIED, body: Body::None });
    }
    if let Some(prefix) = rewritten {
        let mut html = Vec::new();
        found.file.read_to_end(&mut html)?;
        let html = for_prefix(&html, prefix);
        headers.length = html.len() as u64;
        return Ok(Representation { headers, status: StatusCode::OK, body: Body::Whole(html.into()) });
    }
    // The part is of use only while the file is still the one that the client has the rest of.
    let current = conditions.if_range.as_deref().is_none_or(|tag| tag == headers.etag);
    match conditions.range.as_deref().filter(|_| current).map(|range| HttpRange::parse(range, headers.length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (start, length) = (ranges[0].start, ranges[0].length);
            found.file.seek(SeekFrom::Start(start))?;
            headers.range = Some(format!("bytes {start}-{}/{}", start + length - 1, headers.length));
            headers.length = length;
            body_of(found.file, headers, StatusCode::PARTIAL_CONTENT)
        }
        Some(Err(http_range::HttpRangeParseError::NoOverlap)) => {
            headers.range = Some(format!("bytes */{}", headers.length));
            Ok(Representation { headers, status: StatusCode::RANGE_NOT_SATISFIABLE, body: Body::None })
        }
        // None, one that cannot be read, or several: the whole file is a right answer (RFC 9110 §14.2).
        _ => body_of(found.file, headers, StatusCode::OK),
    }
}

fn body_of(mut file: File, headers: Headers, status: StatusCode) -> io::Result<Representation> {
    let length = headers.length;
    if length > WHOLE_BYTES_MAX {
        return Ok(Representation { headers, status, body: Body::Part(file, length) });
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut bytes)?;
    Ok(Representation { headers, status, body: Body::Whole(bytes.into()) })
}

impl Representation {
    /// Completes a response whose status and common headers are set. What only its visitor may see is not for shared caches.
    pub(super) fn complete(self, response: &mut HttpResponseBuilder, private: bool) -> HttpResponse {
        let Self { headers, status, body } = self;
        let cache = if private { headers.cache.replace("public", "private") } else { headers.cache.to_owned() };
        response
            .insert_header((header::ETAG, headers.etag))
            .insert_header((header::CACHE_CONTROL, cache))
            .insert_header((header::VARY, "Accept-Encoding"));
        if let Some(range) = headers.range {
            response.insert_header((header::CONTENT_RANGE, range));
        }
        if status == StatusCode::NOT_MODIFIED || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return response.finish();
        }
        response.insert_header((header::CONTENT_TYPE, headers.content_type)).insert_header((header::ACCEPT_RANGES, "bytes"));
        if let Some(encoding) = headers.encoding {
            response.insert_header((header::CONTENT_ENCODING, encoding));
        }
        match body {
            Body::Whole(bytes) => response.body(bytes),
            Body::None => response.finish(),
            Body::Part(file, length) => {
                let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), length);
                response.body(SizedStream::new(length, ReaderStream::with_capacity(file, CHUNK_BYTES)))
            }
        }
    }
}
