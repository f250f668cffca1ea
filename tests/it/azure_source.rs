//! The Azure source by itself: names, contents, and how often trouble is tried again.

use std::collections::BTreeSet;

use azure_core::http::RequestContent;
use azure_storage_blob::models::BlobClientUploadOptions;
use previewd::domain::{ContentHash, ProjectId, SourcePath};
use previewd::source::{Download, Fetched, Source, SourceError};

use crate::harness::azurite::{Container, KEY, LATER};

const MAX_BYTES: u64 = 64 << 20;
const MAX_FILES: usize = 20_000;

fn demo() -> ProjectId {
    "demo".parse().expect("id")
}

fn path(text: &str) -> SourcePath {
    SourcePath::parse(text).expect("path")
}

/// Fetches, and checks that what was told is what is on the disk; nothing is on the disk of anything but a file.
async fn fetch(source: &Source, name: &str, known: Option<&str>, max_bytes: u64) -> Result<(Fetched, Vec<u8>), SourceError> {
    let dir = tempfile::tempdir().expect("temp dir");
    let into = dir.path().join("file");
    let fetched = source.fetch(&demo(), &path(name), known, &into, max_bytes).await;
    let Ok(Fetched::File(Download { etag, size, sha256 })) = &fetched else {
        assert!(!into.exists(), "{fetched:?}");
        return fetched.map(|other| (other, Vec::new())).map_err(clean);
    };
    let content = std::fs::read(&into).expect("read");
    assert_eq!((*size, *sha256), (content.len() as u64, ContentHash::of(&content)));
    assert!(!etag.is_empty() && !etag.contains('"'), "{etag}");
    fetched.map(|file| (file, content))
}

async fn content(source: &Source, name: &str) -> Vec<u8> {
    fetch(source, name, None, MAX_BYTES).await.expect(name).1
}

/// An error without a secret in it.
fn clean(error: SourceError) -> SourceError {
    let text = format!("{error} {error:?}").replace("sig=[redacted]", "");
    for secret in ["sig=", "SharedKey devstore", &KEY[..20], "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
    error
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from(i * i / 7 % 251).expect("a byte")).collect()
}

async fn by_key() -> (Container, Source) {
    let container = Container::create().await;
    let source = container.source(&container.by_key(), &[]);
    (container, source)
}

#[tokio::test]
async fn only_a_changed_file_is_sent_again() {
    let (_container, source) = by_key().await;
    let name = path("a.ts");
    for content in [b"one".to_vec(), Vec::new()] {
        source.put(&demo(), &name, content.clone()).await.expect("put");
        let listed = source.list(&demo(), MAX_FILES).await.expect("list").files.remove(0);
        for known in [listed.etag.clone(), format!("\"{}\"", listed.etag)] {
            assert_eq!(fetch(&source, "a.ts", Some(&known), MAX_BYTES).await.expect("fetch").0, Fetched::Unchanged, "one form of ETag in both");
        }
        source.put(&demo(), &name, b"two".to_vec()).await.expect("put");
        assert_eq!(fetch(&source, "a.ts", Some(&listed.etag), MAX_BYTES).await.expect("fetch").1, b"two");
    }
    source.delete(&demo(), &name).await.expect("delete");
    source.delete(&demo(), &name).await.expect("delete again");
    for known in [None, Some("0x1")] {
        assert_eq!(fetch(&source, "a.ts", known, MAX_BYTES).await.expect("fetch").0, Fetched::Missing);
    }
}

#[tokio::test]
async fn files_of_any_size_arrive_whole_and_as_they_are_stored() {
    let (container, source) = by_key().await;
    for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 9 << 20] {
        source.put(&demo(), &path("f"), noise(size)).await.expect("put");
        assert!(content(&source, "f").await == noise(size), "{size}");
    }
    for limit in [(9 << 20) - 1, 0] {
        let error = fetch(&source, "f", None, limit).await.expect_err("too large");
        assert!(matches!(error, SourceError::TooLarge { size: 0x90_0000, limit: l, .. } if l == limit), "{error}");
    }
    // Blocks, so that the store has no MD5; and an encoding that nobody may undo.
    let options = BlobClientUploadOptions {
        blob_content_encoding: Some("gzip".to_owned()),
        partition_size: std::num::NonZero::new(1000),
        ..BlobClientUploadOptions::default()
    };
    let blob = container.admin().blob_client(&Container::blob_name("demo", "f"));
    blob.upload(RequestContent::from(noise(2500)), Some(options)).await.expect("upload");
    assert_eq!(source.list(&demo(), MAX_FILES).await.expect("list").files[0].md5, None);
    assert!(content(&source, "f").await == noise(2500));
}

#[tokio::test]
async fn odd_names_come_back_as_they_went() {
    let names = [
        "a b.txt",
        " lead",
        "trail ",
        "ünï/ß.css",
        "日本/文.ts",
        "100%.md",
        "%2e%2e",
        "a%2Fb",
        "a#b+c?d=e&f.ts",
        "<x>&\"y'.xml",
        "]]>",
        "&amp;",
        ".env",
        ".a/.b",
        "...",
        "[id]/[...slug].tsx",
        "(group)/@slot.tsx",
        "a|b^c`d{e}~.ts",
        "x;y=z,!*'$:.js",
        "😀.svg",
        "A",
        "a",
        "e\u{301}",
        "é",
        "\u{feff}bom",
        "nb\u{a0}sp",
        "q?",
        "h#",
        "\u{fffd}",
    ];
    let (container, by_key) = by_key().await;
    let by_sas = container.source(&container.by_sas(&container.sas("rwdl", LATER)), &[]);
    for (way, source) in [("key", by_key), ("sas", by_sas)] {
        for name in names {
            source.put(&demo(), &path(name), name.as_bytes().to_vec()).await.expect(name);
        }
        let listing = source.list(&demo(), MAX_FILES).await.expect("list");
        let listed: BTreeSet<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!((listed, listing.rejected), (BTreeSet::from(names), Vec::new()), "by {way}");
        for name in names {
            assert_eq!(content(&source, name).await, name.as_bytes(), "{name} by {way}");
            source.delete(&demo(), &path(name)).await.expect(name);
        }
        assert_eq!(source.list(&demo(), MAX_FILES).await.expect("list").files, []);
    }
}

#[tokio::test]
async fn folders_are_left_out_and_impossible_names_told() {
    let (container, source) = by_key().await;
    for name in ["src/ok.ts", "src/", "a//b", "node_modules/x.js", "./c", "../d"] {
        container.put("demo", name, "x").await;
    }
    let folder = BlobClientUploadOptions { metadata: Some([("hdi_isfolder".to_owned(), "true".to_owned())].into()), ..Default::default() };
    let marked = container.admin().blob_client(&Container::blob_name("demo", "marked"));
    marked.upload(RequestContent::from_str(""), Some(folder)).await.expect("upload");

    let listing = source.list(&demo(), MAX_FILES).await.expect("list");
    assert_eq!(fetch(&source, "marked", None, MAX_BYTES).await.expect("fetch").0, Fetched::Missing);
    let root = Container::blob_name("demo", "");
    let rejected: Vec<_> = listing.rejected.iter().map(|(name, _)| name.trim_start_matches(&root)).collect();
    assert_eq!(listing.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["src/ok.ts"]);
    assert_eq!(rejected, ["../d", "./c", "a//b", "node_modules/x.js"]);
    let error = source.list(&demo(), 0).await.expect_err("too many");
    assert!(matches!(error, SourceError::TooManyFiles { limit: 0 }), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_a_missing_container_is_never_a_missing_file() {
    let container = Container::create().await;
    let (expired, good) = (container.sas("rl", "2020-01-01T00:00:00Z"), container.sas("rl", LATER));
    let ways =
        [container.by_this_key(&format!("hunter2{}", &KEY[7..])), container.by_sas(&expired), container.by_sas(&good.replace("sp=rl", "sp=rwdl"))];
    for env in ways {
        let source = container.source(&env, &[]);
        assert!(!format!("{source:?}").contains("sig="));
        let errors = [
            source.probe().await.expect_err("probe"),
            source.list(&demo(), MAX_FILES).await.expect_err("list"),
            source.put(&demo(), &path("a"), Vec::new()).await.expect_err("put"),
            fetch(&source, "a", None, MAX_BYTES).await.expect_err("fetch"),
        ];
        assert!(errors.into_iter().map(clean).all(|error| matches!(error, SourceError::Denied(_))));
    }
    let reader = container.source(&container.by_sas(&format!("?{good}")), &[]);
    reader.probe().await.expect("probe");
    assert!(matches!(reader.put(&demo(), &path("a"), Vec::new()).await, Err(SourceError::Denied(_))), "a SAS to read does not write");

    let nowhere = Container { name: "nowhere".to_owned(), ..container };
    let source = nowhere.source(&nowhere.by_key(), &[]);
    let errors = [
        source.probe().await.expect_err("probe"),
        source.list(&demo(), MAX_FILES).await.expect_err("list"),
        source.delete(&demo(), &path("a")).await.expect_err("delete"),
        fetch(&source, "a", None, MAX_BYTES).await.expect_err("fetch"),
    ];
    for error in errors {
        assert!(matches!(&error, SourceError::Misconfigured(text) if text.contains("ContainerNotFound")), "{error:?}");
    }
}
