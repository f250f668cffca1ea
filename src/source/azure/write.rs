//! Writing to the store: for `previewd push`. The daemon itself only reads.
//!
//! Invariant: both calls may be repeated, and leave the same state however often they ran.

use std::num::NonZero;

use azure_core::http::RequestContent;
use azure_storage_blob::models::{BlobClientDeleteOptions, BlobClientUploadOptions, DeleteSnapshotsOptionType};
use md5::{Digest, Md5};

use crate::domain::{ProjectId, SourcePath};
use crate::source::SourceError;

use super::failure::{is_missing, is_there};
use super::{Azure, download};

impl Azure {
    /// Makes the container, where it does not exist yet.
    pub(in crate::source) async fn prepare(&self) -> Result<(), SourceError> {
        let mut tries = self.tries();
        loop {
            let create = async {
                match self.container.create(None).await {
                    Err(error) if !is_there(&error) => Err(error),
                    _ => Ok(()),
                }
            };
            match self.limited("making a container", self.options.request_timeout, create).await {
                Ok(()) => return Ok(()),
                Err(failure) => tries.pause_after(failure).await?,
            }
        }
    }

    /// Writes one file, whatever was there before. With its MD5, so that a later fetch can
    /// tell damage.
    pub(in crate::source) async fn put(&self, project: &ProjectId, path: &SourcePath, bytes: Vec<u8>) -> Result<(), SourceError> {
        let limit = download::transfer_time(self.options.request_timeout, bytes.len() as u64);
        let options = BlobClientUploadOptions {
            blob_content_md5: Some(Md5::digest(&bytes).to_vec()),
            parallel: NonZero::new(1),
            // One request: no blocks that a failed attempt leaves behind.
            partition_size: NonZero::new((bytes.len() as u64).saturating_add(1)),
            ..BlobClientUploadOptions::default()
        };
        let blob = self.blob(project, path);
        let mut tries = self.tries();
        loop {
            let upload = blob.upload(RequestContent::from_slice(&bytes), Some(options.clone()));
            match self.limited("an upload", limit, upload).await {
                Ok(_) => return Ok(()),
                Err(failure) => tries.pause_after(failure).await?,
            }
        }
    }

    /// Removes one file; one that is not there is fine.
    pub(in crate::source) async fn delete(&self, project: &ProjectId, path: &SourcePath) -> Result<(), SourceError> {
        let blob = self.blob(project, path);
        let mut tries = self.tries();
        loop {
            let delete = async {
                let options =
                    BlobClientDeleteOptions { delete_snapshots: Some(DeleteSnapshotsOptionType::Include), ..BlobClientDeleteOptions::default() };
                match blob.delete(Some(options)).await {
                    Err(error) if !is_missing(&error) => Err(error),
                    _ => Ok(()),
                }
            };
            match self.limited("a deletion", self.options.request_timeout, delete).await {
                Ok(()) => return Ok(()),
                Err(failure) => tries.pause_after(failure).await?,
            }
        }
    }
}
