//! One attempt to bring one blob into one file.
//!
//! 1. Ask for the blob, or for it to have changed.
//! 2. Refuse what is too large, before its content is read.
//! 3. Stream it to the disk through a small buffer, hashing as it goes.
//! 4. Compare length and MD5 with what the store promised.
//!
//! Invariant: [`Fetched::File`] means that the file holds exactly one version of the blob,
//! the one of the returned `ETag`. Nothing stays of an attempt that failed.

use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use azure_core::base64;
use azure_core::http::headers::HeaderName;
use azure_core::http::{AsyncResponseBody, Etag, StatusCode};
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{BlobClientDownloadOptions, BlobClientDownloadResult, HttpRange};
use futures::TryStreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::{ContentHash, SourcePath};
use crate::source::{Download, Fetched, SourceError};

use super::failure::{Failure, is_missing};
use super::list::marks_folder;
use super::redact::Redactor;
use super::unquoted;
use super::writer::{BUFFER_BYTES, Writer, Written};

const CONTENT_RANGE: HeaderName = HeaderName::from_static("content-range");
/// A body that arrives slower than this is given up.
const BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// What to fetch, and the limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) path: &'a SourcePath,
    pub(super) known_etag: Option<&'a str>,
    pub(super) into: &'a Path,
    pub(super) max_bytes: u64,
    /// Longest wait for the answer's head, and between two pieces of its body.
    pub(super) patience: Duration,
}

/// What the store says of the blob before it sends it.
#[derive(Debug, PartialEq, Eq)]
struct Promise {
    etag: String,
    /// Of the blob, however much of it this answer has.
    size: Option<u64>,
    /// All of the blob is in this one answer.
    whole: bool,
    md5: Option<[u8; 16]>,
}

/// How long a transfer of so many bytes may take in all.
pub(super) fn transfer_time(patience: Duration, bytes: u64) -> Duration {
    patience.saturating_add(Duration::from_secs(bytes / BYTES_PER_SECOND_MIN))
}

impl Request<'_> {
    pub(super) async fn attempt(&self, blob: &BlobClient, redactor: &Redactor) -> Result<Fetched, Failure> {
        // 1. Ask.
        let asked = timeout(self.patience, blob.download(Some(self.options()))).await;
        let response = match asked.map_err(|_| Failure::timeout("an answer", self.patience))? {
            Ok(response) => response,
            Err(error) if error.http_status() == Some(StatusCode::NotModified) && self.known_etag.is_some() => {
                return Ok(Fetched::Unchanged);
            }
            Err(error) if is_missing(&error) => return Ok(Fetched::Missing),
            Err(error) => return Err(Failure::of(&error, redactor)),
        };
        if marks_folder(&response.properties.metadata) {
            return Ok(Fetched::Missing);
        }
        let unusable = |why: &str| Failure::again(SourceError::Unavailable(why.to_owned()));
        let promise = Promise::of(&response).ok_or_else(|| unusable("an answer without an ETag"))?;
        // 2. Refuse.
        self.check_size(promise.size.unwrap_or_default())?;
        if !promise.whole {
            // The client would fetch the rest, and pad the first part with zeros.
            return Err(unusable("an answer with a part of the content"));
        }
        // 3. Stream.
        let written = self.stream(response.body, promise.size, redactor).await?;
        // 4. Compare.
        if let Some(detail) = promise.broken_by(written.size, written.md5) {
            return Err(Failure::again(SourceError::Corrupt { path: self.path.clone(), attempts: 1, detail }));
        }
        let sha256 = ContentHash::from_bytes(written.sha256);
        let download = Download { etag: promise.etag, size: written.size, sha256 };
        written.keep();
        Ok(Fetched::File(download))
    }

    fn options(&self) -> BlobClientDownloadOptions<'static> {
        // The client cuts a download into ranges and buffers each one. A single range of one
        // byte more than we accept keeps it at one streamed request, hence at one version of
        // the blob, and shows whatever is larger.
        let range = self.max_bytes.saturating_add(1);
        BlobClientDownloadOptions {
            if_none_match: self.known_etag.map(|etag| Etag::from(format!("\"{}\"", unquoted(etag)))),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(usize::try_from(range).unwrap_or(usize::MAX)),
            range: Some(HttpRange::from(0..range)),
            ..BlobClientDownloadOptions::default()
        }
    }

    fn check_size(&self, size: u64) -> Result<(), Failure> {
        if size <= self.max_bytes {
            return Ok(());
        }
        Err(Failure::never(SourceError::TooLarge { path: self.path.clone(), size, limit: self.max_bytes }))
    }

    async fn stream(&self, mut body: AsyncResponseBody, size: Option<u64>, redactor: &Redactor) -> Result<Written, Failure> {
        let expected = size.unwrap_or(self.max_bytes);
        let whole = transfer_time(self.patience, expected);
        let deadline = Instant::now() + whole;
        let mut writer = Writer::new(self.into);
        let mut buffer = Vec::with_capacity(usize::try_from(expected).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES));
        let mut received: u64 = 0;
        loop {
            let piece = timeout_at(deadline.min(Instant::now() + self.patience), body.try_next()).await;
            let piece = piece.map_err(|_| Failure::timeout("the content", if Instant::now() < deadline { self.patience } else { whole }))?;
            let Some(piece) = piece.map_err(|error| Failure::of(&error, redactor))? else { break };
            received += piece.len() as u64;
            self.check_size(received)?;
            buffer.extend_from_slice(&piece);
            if buffer.len() >= BUFFER_BYTES {
                (writer, buffer) = writer.write(buffer).await?;
            }
        }
        Ok(writer.finish(buffer).await?)
    }
}

impl Promise {
    fn of(response: &BlobClientDownloadResult) -> Option<Self> {
        let properties = &response.properties;
        let range = response.headers.get_optional_str(&CONTENT_RANGE).and_then(parse_range);
        // Without a range an answer is the blob as a whole: an empty one, for example.
        let (whole, total) = match range {
            Some((start, end, total)) => (start == 0 && end.checked_add(1) == Some(total), Some(total)),
            None => (true, properties.content_length),
        };
        let md5 = properties.blob_content_md5.as_ref().or(properties.content_md5.as_ref());
        Some(Self {
            etag: unquoted(properties.etag.as_ref()?.as_ref()).to_owned(),
            size: total,
            whole,
            md5: md5.and_then(|md5| md5.as_slice().try_into().ok()),
        })
    }

    fn broken_by(&self, size: u64, md5: [u8; 16]) -> Option<String> {
        match (self.size, self.md5) {
            (Some(promised), _) if promised != size => Some(format!("{size} of {promised} bytes")),
            (_, Some(promised)) if promised != md5 => Some(format!("MD5 {} instead of {}", base64::encode(md5), base64::encode(promised))),
            _ => None,
        }
    }
}

/// Start, end (the last byte) and total of `bytes 0-9/10`.
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises() {
        let md5 = |byte| Some([byte; 16]);
        let promise = |size, md5| Promise { etag: String::new(), size, whole: true, md5 };
        assert_eq!(promise(Some(3), md5(1)).broken_by(3, [1; 16]), None);
        assert_eq!(promise(None, None).broken_by(3, [1; 16]), None);
        assert_eq!(promise(Some(4), md5(1)).broken_by(3, [1; 16]), Some("3 of 4 bytes".to_owned()));
        assert!(promise(Some(3), md5(2)).broken_by(3, [1; 16]).unwrap().starts_with("MD5"));
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes 0-9/10"), Some((0, 9, 10)));
        for text in ["bytes 0-9/*", "bytes */10", "items 0-9/10", ""] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }

    #[test]
    fn large_bodies_get_more_time() {
        let patience = Duration::from_secs(15);
        assert_eq!(transfer_time(patience, 1000), patience);
        assert_eq!(transfer_time(patience, 64 << 20), Duration::from_secs(15 + 256));
    }
}
