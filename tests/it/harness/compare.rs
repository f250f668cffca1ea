//! Whether two releases show the same: `tests/browser/snapshot.mjs` looks at both in Chromium, this tells the difference.
//!
//! What a page shows by chance is no difference: where two pages differ, both are looked at again, and the second has to look like the first
//! did at one of its two times. Only the first page excuses anything: chance that the second alone shows is a difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;
use similar::{Algorithm, capture_diff_slices};

use super::browser::Browser;

/// Lines of one difference that are told.
const LINES_TOLD: usize = 12;
/// Differences that are told.
const DIFFERENCES_TOLD: usize = 30;

/// A page at rest.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Snapshot {
    /// Status and address, then one line for each element and text, indented.
    pub(crate) dom: Vec<String>,
    /// Computed styles.
    pub(crate) styles: Vec<Styles>,
    /// Console errors and warnings, exceptions, failed requests.
    pub(crate) problems: BTreeSet<String>,
    /// Everything else that it said to the console.
    pub(crate) said: Vec<String>,
}

/// An element, named by its path, and its values by property.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Styles {
    pub(crate) element: String,
    pub(crate) values: BTreeMap<String, String>,
}

/// One thing in which two pages differ.
#[derive(Debug, Clone, PartialEq)]
struct Difference {
    /// The places in the first page that it touches; comparable between comparisons with the same first page.
    places: BTreeSet<String>,
    text: String,
}

impl Snapshot {
    /// Elements that are there beyond an empty page's.
    pub(crate) fn elements(&self) -> usize {
        self.styles.len()
    }
}

/// Pages of their own, looked at together.
pub(crate) fn snapshots(browser: &mut Browser, urls: &[&str]) -> Vec<Snapshot> {
    serde_json::from_value(browser.call("snapshots", json!({ "urls": urls }))).expect("snapshots")
}

/// What differs between two pages, as text; nothing where they show the same.
pub(crate) fn compare(browser: &mut Browser, plain: &str, other: &str) -> (Vec<Snapshot>, Vec<String>) {
    let first = snapshots(browser, &[plain, other]);
    if differences(&first[0], &first[1]).is_empty() {
        return (first, Vec::new());
    }
    let again = snapshots(browser, &[plain, other]);
    let found = beyond_chance([&first[0], &again[0]], [&first[1], &again[1]]);
    (first, found)
}

/// What the second page shows and the first shows at neither time.
fn beyond_chance(plain: [&Snapshot; 2], other: [&Snapshot; 2]) -> Vec<String> {
    let chance: BTreeSet<String> = differences(plain[0], plain[1]).into_iter().flat_map(|found| found.places).collect();
    let unexcused = |seen: &Snapshot| -> Vec<String> {
        if differences(plain[1], seen).is_empty() {
            return Vec::new();
        }
        let found = differences(plain[0], seen).into_iter().filter(|found| !found.places.is_subset(&chance));
        found.map(|found| found.text).collect()
    };
    let mut told = unexcused(other[0]);
    told.extend(unexcused(other[1]).into_iter().map(|text| format!("at the second look: {text}")).filter(|_| told.is_empty()).collect::<Vec<_>>());
    told.truncate(DIFFERENCES_TOLD);
    told
}

fn differences(plain: &Snapshot, other: &Snapshot) -> Vec<Difference> {
    let mut found = differences_of_dom(plain, other);
    found.extend(differences_of_styles(plain, other));
    let lacking = |whose: &str, a: &Snapshot, b: &Snapshot| -> Vec<Difference> {
        let problems = a.problems.difference(&b.problems);
        problems.map(|text| Difference { places: [format!("problem {text}")].into(), text: format!("only {whose}: {text}") }).collect()
    };
    found.extend(lacking("the first", plain, other));
    found.extend(lacking("the second", other, plain));
    if plain.said.is_empty() && !other.said.is_empty() {
        let text = format!("only the second says: {}", other.said.join("; "));
        found.push(Difference { places: ["said".to_owned()].into(), text });
    }
    found
}

fn differences_of_dom(plain: &Snapshot, other: &Snapshot) -> Vec<Difference> {
    let changed = capture_diff_slices(Algorithm::Myers, &plain.dom, &other.dom).into_iter().filter(|part| part.tag() != similar::DiffTag::Equal);
    let tell = |sign: char, lines: &[String]| -> Vec<String> { lines.iter().take(LINES_TOLD).map(|line| format!("  {sign} {line}")).collect() };
    changed
        .map(|part| {
            let (old, new) = (part.old_range(), part.new_range());
            let places =
                if old.is_empty() { [format!("before line {}", old.start)].into() } else { old.clone().map(|line| format!("line {line}")).collect() };
            let lines = [tell('-', &plain.dom[old.clone()]), tell('+', &other.dom[new])].concat();
            Difference { places, text: format!("DOM, line {}:\n{}", old.start + 1, lines.join("\n")) }
        })
        .collect()
}

/// Of the elements that both have; that one is missing is seen in the DOM.
fn differences_of_styles(plain: &Snapshot, other: &Snapshot) -> Vec<Difference> {
    let of_other: BTreeMap<&str, &Styles> = other.styles.iter().map(|styles| (styles.element.as_str(), styles)).collect();
    let both = plain.styles.iter().filter_map(|styles| Some((styles, *of_other.get(styles.element.as_str())?)));
    let values = both.flat_map(|(a, b)| a.values.iter().map(move |(property, value)| (&a.element, property, value, b.values.get(property))));
    values
        .filter(|(_, _, a, b)| Some(*a) != *b)
        .map(|(element, property, a, b)| Difference {
            places: [format!("{property} of {element}")].into(),
            text: format!("style of {element}: {property} is {a:?}, then {:?}", b.map_or("", String::as_str)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(dom: &[&str], colour: &str, problems: &[&str]) -> Snapshot {
        let styles = Styles { element: "html>body:1".into(), values: [("color".to_owned(), colour.to_owned())].into() };
        Snapshot {
            dom: dom.iter().map(|line| (*line).to_owned()).collect(),
            styles: vec![styles],
            problems: problems.iter().map(|text| (*text).to_owned()).collect(),
            said: Vec::new(),
        }
    }

    #[test]
    fn chance_of_the_first_page_is_excused_and_of_the_second_is_not() {
        let (one, two) = (page(&["<p>", "1"], "red", &[]), page(&["<p>", "2"], "red", &[]));
        let third = page(&["<p>", "3"], "red", &[]);
        assert_eq!(beyond_chance([&one, &two], [&third, &third]), [""; 0]);
        assert_eq!(beyond_chance([&one, &two], [&two, &one]), [""; 0]);
        assert_eq!(beyond_chance([&one, &one], [&one, &two]), ["at the second look: DOM, line 2:\n  - 1\n  + 2"]);
        let more = page(&["<p>", "3"], "blue", &[]);
        assert_eq!(beyond_chance([&one, &two], [&more, &more]), ["style of html>body:1: color is \"red\", then \"blue\""]);
    }

    #[test]
    fn problems_count_in_both_directions() {
        let (one, other) = (page(&[], "red", &["a", "b"]), page(&[], "red", &["b", "c"]));
        let texts = |a, b| differences(a, b).into_iter().map(|found| found.text).collect::<Vec<_>>();
        assert_eq!(texts(&one, &other), ["only the first: a", "only the second: c"]);
        let mut chatty = one.clone();
        chatty.said = vec!["info: x".to_owned()];
        assert_eq!((texts(&one, &chatty), texts(&chatty, &one)), (vec!["only the second says: info: x".to_owned()], vec![]));
    }
}
