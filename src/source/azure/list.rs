//! One page of a project's listing, and what of it is a file.
//!
//! Invariant: an odd name never fails a listing. What is no [`SourcePath`] is told with its
//! reason; folder markers are no files and are left out without a word.

use std::collections::HashMap;

use azure_storage_blob::BlobContainerClient;
use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem, ListBlobsResponse};
use futures::TryStreamExt;

use crate::domain::SourcePath;
use crate::source::{Listed, Listing, SourceError};

use super::unquoted;

/// Pages of one listing. The store may return short or even empty pages; a limit keeps a
/// store that never ends from keeping us.
const PAGES_MAX: usize = 1000;
/// Longest odd name that is passed on, in characters.
const ODD_NAME_CHARS_MAX: usize = 200;
/// How a store with folders (hierarchical namespace), and the tools for it, mark them.
const FOLDER_MARK: &str = "hdi_isfolder";

/// Asks for the page at `marker` (the first one without); 5,000 blobs at most.
pub(super) async fn page(
    container: &BlobContainerClient,
    prefix: &str,
    marker: Option<&str>,
    size: Option<i32>,
) -> azure_core::Result<ListBlobsResponse> {
    let options = BlobContainerClientListBlobsOptions {
        include: Some(vec![ListBlobsIncludeItem::Metadata]),
        marker: marker.map(str::to_owned),
        maxresults: size,
        // An empty parameter would be signed in one way here and in another there.
        prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
        ..BlobContainerClientListBlobsOptions::default()
    };
    // A new pager for each page, so that a failed page can be asked for again.
    match container.list_blobs(Some(options))?.into_pages().try_next().await? {
        Some(response) => response.into_model(),
        None => Ok(ListBlobsResponse::default()),
    }
}

/// A listing as its pages come in.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    root: &'a str,
    max_files: usize,
    pages: usize,
    listing: Listing,
}

impl<'a> Collector<'a> {
    /// `root` is what all names begin with; it is cut off.
    pub(super) fn new(root: &'a str, max_files: usize) -> Self {
        Self { root, max_files, pages: 0, listing: Listing::default() }
    }

    /// Takes a page, and returns the marker of the next one if there is one.
    pub(super) fn take(&mut self, page: ListBlobsResponse) -> Result<Option<String>, SourceError> {
        for item in page.blob_items {
            if is_folder(&item) {
                continue;
            }
            match listed(item, self.root) {
                Ok(file) => self.listing.add(file, self.max_files)?,
                Err((name, why)) => self.listing.reject(name, why, self.max_files)?,
            }
        }
        self.pages += 1;
        if self.pages >= PAGES_MAX {
            return Err(SourceError::Unavailable(format!("the listing has more than {PAGES_MAX} pages")));
        }
        Ok(page.next_marker.filter(|marker| !marker.is_empty()))
    }

    pub(super) fn finish(self) -> Listing {
        self.listing
    }
}

/// What tells a folder of a store with folders from an empty file.
pub(super) fn marks_folder(metadata: &HashMap<String, String>) -> bool {
    // The case of a name is whatever the writer used.
    metadata.iter().any(|(name, value)| name.eq_ignore_ascii_case(FOLDER_MARK) && value.eq_ignore_ascii_case("true"))
}

fn is_folder(item: &BlobItem) -> bool {
    let metadata = item.metadata.as_ref().and_then(|metadata| metadata.values.as_ref());
    metadata.is_some_and(marks_folder) || item.name.as_ref().is_none_or(|name| name.ends_with('/'))
}

fn listed(item: BlobItem, root: &str) -> Result<Listed, (String, String)> {
    let name = item.name.unwrap_or_default();
    let odd = |why: &str| (name.chars().take(ODD_NAME_CHARS_MAX).collect(), why.to_owned());
    let Some(relative) = name.strip_prefix(root) else { return Err(odd("not below the project's folder")) };
    let path = SourcePath::parse(relative).map_err(|e| odd(&e.to_string()))?;
    let Some(properties) = item.properties else { return Err(odd("listed without properties")) };
    let (Some(etag), Some(size)) = (properties.etag, properties.content_length) else {
        return Err(odd("listed without ETag or size"));
    };
    let md5 = properties.content_md5.and_then(|md5| md5.as_slice().try_into().ok());
    Ok(Listed { path, etag: unquoted(etag.as_ref()).to_owned(), size, md5 })
}

#[cfg(test)]
mod tests {
    use azure_core::xml::from_xml;

    use super::*;

    fn blob(name: &str, extra: &str) -> String {
        format!(
            "<Blob><Name{name}</Name><Properties><Etag>\"0x1\"</Etag><Content-Length>3</Content-Length>\
             <Content-MD5>AAAAAAAAAAAAAAAAAAAAAA==</Content-MD5></Properties>{extra}</Blob>"
        )
    }

    fn parse(blobs: &str, next: &str) -> ListBlobsResponse {
        let xml = format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>");
        from_xml(xml.as_bytes()).unwrap()
    }

    #[test]
    fn files_are_taken_folders_left_out_and_odd_names_told() {
        let folder = "<Metadata><Hdi_isfolder>true</Hdi_isfolder></Metadata>";
        let blobs = [
            blob(">p/a &amp; b.ts", "<Metadata/>"),
            blob(" Encoded=\"true\">p/100%25 %23%2B.md", "<Metadata><a>b</a></Metadata>"),
            blob(">p/folder", folder),
            blob(">p/other/", ""),
            blob(">p/", ""),
            blob(">p/../x", ""),
            blob(">q/x", ""),
            "<Blob><Name>p/bare</Name></Blob>".to_owned(),
        ];
        let mut collector = Collector::new("p/", 10);
        assert_eq!(collector.take(parse(&blobs.concat(), "next")).unwrap(), Some("next".to_owned()));
        assert_eq!(collector.take(parse("", "")).unwrap(), None);
        let listing = collector.finish();
        let names: Vec<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["a & b.ts", "100% #+.md"]);
        assert_eq!((listing.files[0].etag.as_str(), listing.files[0].size, listing.files[0].md5), ("0x1", 3, Some([0; 16])));
        let odd: Vec<_> = listing.rejected.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(odd, ["p/../x", "q/x", "p/bare"]);
    }

    #[test]
    fn one_too_many_ends_it() {
        let mut collector = Collector::new("p/", 2);
        assert!(collector.take(parse(&[blob(">p/a", ""), blob(">p/b", "")].concat(), "m")).is_ok());
        let error = collector.take(parse(&blob(">p/../c", ""), "")).unwrap_err();
        assert!(matches!(error, SourceError::TooManyFiles { limit: 2 }), "{error}");
    }

    #[test]
    fn a_listing_without_end_ends() {
        let mut collector = Collector::new("p/", 2);
        let ended = (0..PAGES_MAX).find_map(|_| collector.take(parse("", "again")).err());
        assert!(matches!(ended, Some(SourceError::Unavailable(_))));
    }
}
