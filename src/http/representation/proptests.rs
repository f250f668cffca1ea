//! Range and conditional headers made at random: the answer is the whole file, a part of it that is told right, or a refusal.

use actix_web::http::header::{HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const PIECES: &[&str] = &[
    "bytes",
    "=",
    "-",
    ",",
    "0",
    "1",
    "9",
    "10",
    "99",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "+1",
    " ",
    "\t",
    "0-",
    "-0",
    "-5",
    "5-2",
    "2-5",
    "items",
    "*",
    "é",
    "\"x\"",
    "W/",
    "x",
];
const CONTENT: &[u8] = b"0123456789";

fn answered(content: &'static [u8], headers: &HeaderMap) -> (Headers, StatusCode, Option<Bytes>) {
    let file = SmallFile { path: "a.txt".to_owned(), etag: "\"x\"".to_owned(), encoding: None, content: Bytes::from_static(content) };
    let Representation { headers, status, body } =
        represent(Content::Small(Arc::new(file)), None, false, &Conditions::of(headers)).expect("nothing is read");
    let body = match body {
        Body::Whole(bytes) => Some(bytes),
        Body::None => None,
        Body::Part(..) => panic!("it is in memory"),
    };
    (headers, status, body)
}

proptest! {
    #[test]
    fn a_part_is_what_it_says(pieces in vec(select(PIECES), 0..8), prefixed: bool, empty in prop::bool::weighted(0.1), name in select(vec!["if-range", "if-none-match", "x-none"])) {
        let content = if empty { b"" } else { CONTENT };
        let range = if prefixed { format!("bytes={}", pieces.concat()) } else { pieces.concat() };
        let mut headers = HeaderMap::new();
        for (name, text) in [("range", &range), (name, &pieces.concat())] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let (told, status, body) = answered(content, &headers);
        match (status.as_u16(), body) {
            (200, Some(body)) => prop_assert!(body == content && told.range.is_none() && told.length == content.len() as u64),
            (206, Some(body)) => {
                let said = told.range.expect("which part");
                let (start, end) = said.trim_start_matches("bytes ").trim_end_matches("/10").split_once('-').expect("from-to");
                let [start, end]: [usize; 2] = [start, end].map(|n| n.parse().expect("a number"));
                prop_assert!(!body.is_empty() && body == CONTENT[start..=end] && told.length == body.len() as u64, "{:?}: {}", range, said);
            }
            (304, None) => prop_assert_eq!(name, "if-none-match"),
            (416, None) => prop_assert_eq!(told.range, Some(format!("bytes */{}", content.len()))),
            (status, body) => prop_assert!(false, "{:?}: {} {:?}", range, status, body),
        }
    }
}
