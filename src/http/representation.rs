//! How a file of a release is answered: conditional, in part, rewritten, whole.
//!
//! Invariant: whatever is sent carries the validator of exactly those bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use http_range::HttpRange;
use tokio_util::io::ReaderStream;

use crate::preview::cache::{SMALL_BYTES_MAX, SmallFile};
use crate::preview::headers::{CACHE_FOREVER, CACHE_FOREVER_PRIVATE, cache_control, content_type, etag, matches};
use crate::preview::resolve::Found;
use crate::preview::rewrite::for_prefix;

/// Bytes read at once of files that are too large to be read whole: each read is one on another thread.
const CHUNK_BYTES: usize = 256 * 1024;
/// A page longer than this is served as it is in path mode.
const REWRITE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A file of a release, small ones in memory.
pub(super) enum Content {
    Small(Arc<SmallFile>),
    Large(Box<Found>),
}

/// What is answered.
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

    /// The same of what is only ever sent whole.
    pub(super) fn of_whole(headers: &HeaderMap) -> Self {
        Self { range: None, if_range: None, ..Self::of(headers) }
    }

    /// A part counts bytes of the file itself, so it gets no compressed copy.
    pub(super) fn allow_compressed(&self) -> bool {
        self.range.is_none()
    }
}

impl Content {
    /// Reads a file that is small enough. Blocking.
    pub(super) fn read(mut found: Found) -> io::Result<Self> {
        if found.metadata.len() > SMALL_BYTES_MAX {
            return Ok(Self::Large(Box::new(found)));
        }
        let mut content = vec![0; usize::try_from(found.metadata.len()).unwrap_or_default()];
        found.file.read_exact(&mut content)?;
        let etag = etag(&found.metadata);
        Ok(Self::Small(Arc::new(SmallFile { path: found.path, etag, encoding: found.encoding, content: content.into() })))
    }

    /// Its path in the release.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Small(file) => &file.path,
            Self::Large(found) => &found.path,
        }
    }

    fn headers(&self, permanent: bool) -> Headers {
        let (etag, encoding, length) = match self {
            Self::Small(file) => (file.etag.clone(), file.encoding, file.content.len() as u64),
            Self::Large(found) => (etag(&found.metadata), found.encoding, found.metadata.len()),
        };
        let cache = if permanent { CACHE_FOREVER } else { cache_control(self.path()) };
        Headers { etag, content_type: content_type(self.path()), cache, encoding, range: None, length }
    }

    fn whole(self) -> io::Result<Bytes> {
        match self {
            Self::Small(file) => Ok(file.content.clone()),
            Self::Large(mut found) => {
                let mut content = Vec::new();
                found.file.read_to_end(&mut content)?;
                Ok(content.into())
            }
        }
    }

    /// `length` bytes from `start`.
    fn part(self, start: u64, length: u64) -> io::Result<Body> {
        match self {
            Self::Small(file) => {
                let [start, length] = [start, length].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                Ok(Body::Whole(file.content.slice(start..start + length)))
            }
            Self::Large(mut found) => {
                found.file.seek(SeekFrom::Start(start))?;
                Ok(Body::Part(found.file, length))
            }
        }
    }
}

/// What a request for a file is answered with. `prefix` is path mode's; `permanent` an address whose bytes never change. Blocking
/// where a page is rewritten or the file is large.
pub(super) fn represent(content: Content, prefix: Option<&str>, permanent: bool, conditions: &Conditions) -> io::Result<Representation> {
    let mut headers = content.headers(permanent);
    let rewritten = prefix.filter(|_| is_page(content.path()) && headers.length <= REWRITE_BYTES_MAX);
    if rewritten.is_some() {
        headers.etag.insert_str(headers.etag.len() - 1, "-p");
    }
    if conditions.if_none_match.as_deref().is_some_and(|candidates| matches(candidates, &headers.etag)) {
        return Ok(Representation { headers, status: StatusCode::NOT_MODIFIED, body: Body::None });
    }
    if let Some(prefix) = rewritten {
        let html = for_prefix(&content.whole()?, prefix);
        headers.length = html.len() as u64;
        return Ok(Representation { headers, status: StatusCode::OK, body: Body::Whole(html.into()) });
    }
    // The part is of use only while the file is still the one that the client has the rest of.
    let current = conditions.if_range.as_deref().is_none_or(|tag| tag == headers.etag);
    match conditions.range.as_deref().filter(|_| current).map(|range| HttpRange::parse(range, headers.length)) {
        // Nothing is no part, of an empty file neither.
        Some(Ok(ranges)) if ranges.len() == 1 && ranges[0].length == 0 => Ok(unsatisfiable(headers)),
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (start, length) = (ranges[0].start, ranges[0].length);
            headers.range = Some(format!("bytes {start}-{}/{}", start + length - 1, headers.length));
            headers.length = length;
            Ok(Representation { headers, status: StatusCode::PARTIAL_CONTENT, body: content.part(start, length)? })
        }
        Some(Err(http_range::HttpRangeParseError::NoOverlap)) => Ok(unsatisfiable(headers)),
        // None, one that cannot be read, or several: the whole file is a right answer (RFC 9110 §14.2).
        _ => {
            let body = content.part(0, headers.length)?;
            Ok(Representation { headers, status: StatusCode::OK, body })
        }
    }
}

fn unsatisfiable(mut headers: Headers) -> Representation {
    headers.range = Some(format!("bytes */{}", headers.length));
    Representation { headers, status: StatusCode::RANGE_NOT_SATISFIABLE, body: Body::None }
}

impl Representation {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Completes a response whose status and common headers are set. What only its visitor may see is not for shared caches.
    pub(super) fn complete(self, response: &mut HttpResponseBuilder, private: bool) -> HttpResponse {
        let Self { headers, status, body } = self;
        let cache = match headers.cache {
            CACHE_FOREVER if private => HeaderValue::from_static(CACHE_FOREVER_PRIVATE),
            cache => HeaderValue::from_static(cache),
        };
        response
            .insert_header((header::ETAG, headers.etag))
            .insert_header((header::CACHE_CONTROL, cache))
            .insert_header((header::VARY, HeaderValue::from_static("Accept-Encoding")));
        if let Some(range) = headers.range {
            response.insert_header((header::CONTENT_RANGE, range));
        }
        if status == StatusCode::NOT_MODIFIED || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return response.finish();
        }
        response.insert_header((header::CONTENT_TYPE, headers.content_type));
        match headers.encoding {
            Some(encoding) => response.insert_header((header::CONTENT_ENCODING, HeaderValue::from_static(encoding))),
            // Not of a copy: parts are served of the file itself, which has another validator.
            None => response.insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))),
        };
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

#[cfg(test)]
mod proptests;
