use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::release::{OutputLimits, scan};

fn injected(html: &str) -> String {
    let with = inject(html.as_bytes(), |_| "<script data-previewd T></script>".into()).expect("something changes");
    String::from_utf8(with).expect("utf-8").replace("<script data-previewd T></script>", "@")
}

#[test]
fn first_in_the_head_of_real_pages() {
    for page in [
        "<!doctype html><html><head>@<meta charset=utf-8></head><body></body></html>",
        "<!DOCTYPE HTML>\n<HTML LANG=EN>\n<HEAD>@\n<TITLE>x</TITLE>",
        "<!doctype html>\n<html>\n  <head prefix=\"og: > \" class='>'>@<title>",
        "<!doctype html><html data-x='<head>'><head>@</head>",
        "<!doctype html><!-- <head> is not here --><html><!-- nor <head> --><head>@<!-- x -->",
        "\u{feff}<!doctype html><html><head>@</head>",
        "\u{feff}@<p>no more than this",
        "<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0//EN\" \"x.dtd\"><html><head>@</head>",
        "<!doctype html>@<title>no head</title>",
        "<!doctype html><html>@<body><header>not a head</header></body></html>",
        "<!doctype html>@<header>no head either</header><script>'<head>'</script>",
        "@<script>document.write('<html><head></head>')</script>",
        "@just text, and later <head>",
        "@",
        "<!-->@<!-- a whole comment is in front of the tag",
        "<!doctype html><!---><head>@",
        "<!doctype html><!-- a --!><head>@",
        "<!doctype html>@<!-- never closed <head>",
        "<!doctype html>@<head never closed",
        "<!--[if IE]><html class=ie><![endif]--><!--[if !IE]><!--><html><!--<![endif]--><head>@",
    ] {
        let html = page.replace('@', "");
        // A comment alone is no reason to go behind it.
        let expected = if page.starts_with("<!-->") { format!("@{html}") } else { page.to_owned() };
        assert_eq!(injected(&html), expected);
    }
}

#[test]
fn again_it_takes_the_place_of_the_earlier_one() {
    let (one, other) = (Injection { client: Some("/c.js?v=1".into()), scripts: vec!["https://a/b.js?x=1&y=\"".into()] }, Injection::default());
    let [project, builds @ ..] = ["demo", "a", "b"];
    let (project, builds) =
        (project.parse().expect("id"), builds.map(|name| BuildId::from_parts(name.len() as u64 + u64::from(name.as_bytes()[0]), 0)));
    let page = b"<!doctype html><head><title>x</title></head>";
    let client = Injection { client: Some("/c.js?v=1".into()), scripts: Vec::new() };
    let tags = |build| {
        let (client, project) = (client.clone(), "demo".parse().expect("id"));
        move |policy| client.tags(&project, build, policy)
    };
    let first = inject(page, tags(builds[0])).expect("changed");
    assert_eq!(inject(&first, tags(builds[0])), None, "nothing is left to do");
    let second = inject(&first, tags(builds[1])).expect("another build");
    assert_eq!(second, inject(page, tags(builds[1])).expect("changed"));
    let [first, second] = [first, second].map(|html| without_build(&String::from_utf8(html).expect("utf-8")));
    assert_eq!(first, second, "they differ in the build alone");
    assert_eq!(other.tags(&project, builds[0], false), "");
    let all = one.tags(&project, builds[0], false);
    assert!(all.starts_with("<script data-previewd src=\"/c.js?v=1\" data-build=\""), "{all}");
    assert!(all.ends_with("<script data-previewd src=\"https://a/b.js?x=1&amp;y=&quot;\" data-project=\"demo\"></script>"), "{all}");
}

#[test]
fn a_policy_is_told_and_other_alphabets_are_left_alone() {
    let told = |html: &str| {
        let mut told = false;
        inject(html.as_bytes(), |policy| {
            told = policy;
            String::new()
        });
        told
    };
    assert!(told("<head><META Content=\"default-src 'self'; x>\" HTTP-EQUIV=content-security-POLICY>"));
    assert!(!told("<meta name=description content='Content-Security-Policy'><p>http-equiv"));
    assert_eq!(inject(b"\xff\xfe<\0h\0t\0m\0l\0>\0", |_| "x".into()), None);
}

#[test]
fn files_of_a_release() {
    let (root, earlier) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    for (name, text) in [("index.html", "<head>"), ("deep/Page.HTM", "<p>"), ("a.js", "<head>"), ("a.htmlx", "<head>")] {
        fs::create_dir_all(root.path().join(name).parent().expect("parent")).expect("mkdir");
        fs::write(root.path().join(name), text).expect("write");
    }
    let huge = vec![b' '; usize::try_from(PAGE_BYTES_MAX).expect("fits") + 1];
    fs::write(root.path().join("huge.html"), huge).expect("write");
    let scanned = scan(root.path(), OutputLimits { files: 99, bytes: PAGE_BYTES_MAX * 2 }).expect("scan");
    // A release that shares the file keeps it as it was.
    fs::hard_link(root.path().join("index.html"), earlier.path().join("index.html")).expect("link");
    let before = fs::metadata(root.path().join("index.html")).expect("stat");
    let injection = Injection { client: Some("/_previewd/client.js?v=1".into()), scripts: Vec::new() };
    let (project, build) = ("demo".parse().expect("id"), BuildId::from_parts(1, 1));
    let grown = injection.apply(root.path(), &scanned.files, &project, build).expect("inject");
    let tag = injection.tags(&project, build, false);
    let read = |name: &str| fs::read_to_string(root.path().join(name)).expect("read");
    assert_eq!((read("index.html"), read("deep/Page.HTM")), (format!("<head>{tag}"), format!("{tag}<p>")));
    assert_eq!((read("a.js").as_str(), read("a.htmlx").as_str(), read("huge.html").trim()), ("<head>", "<head>", ""));
    assert_eq!(grown, 2 * tag.len() as u64);
    assert_eq!(fs::read_to_string(earlier.path().join("index.html")).expect("read"), "<head>");
    let after = fs::metadata(root.path().join("index.html")).expect("stat");
    assert_ne!(before.mtime(), after.mtime(), "the time stands for the content");
    assert_eq!(after.mode() & 0o777, FILE_MODE);
    let left = fs::read_dir(root.path())
        .expect("list")
        .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with(ASIDE_PREFIX)));
    assert_eq!(left.count(), 0);
    assert_eq!(Injection::default().apply(root.path(), &scanned.files, &project, build).expect("nothing"), 0);
    assert_eq!(read("index.html"), format!("<head>{tag}"), "without anything to inject nothing is touched");
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_the_page_is(html in "(<!doctype html>|<html|<head| |>|\"|'|<!--|-->|<meta http-equiv=|a|\u{feff}){0,24}") {
        let tag = "<script data-previewd x></script>";
        let with = inject(html.as_bytes(), |_| tag.into()).expect("the tag is new");
        let text = String::from_utf8(with.clone()).expect("utf-8");
        prop_assert_eq!(text.replacen(tag, "", 1), html);
        prop_assert_eq!(inject(&with, |_| tag.into()), None);
    }
}
