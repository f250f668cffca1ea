//! What the preview client reports of a page: messages, errors, failed requests, and whether it rendered.
//!
//! 1. read it, within limits  2. map places in scripts back to sources  3. records for whoever follows the project
//!
//! Invariant: everything here is a claim of whoever opened the preview, or of the code in it. It is bounded, told to people as what a page
//! said, and decides nothing else.

use std::time::Instant;

use dashmap::DashMap;
use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::resolve::percent_decode;
use super::urls::Urls;
use crate::domain::build::truncate;
use crate::domain::status::{RenderReport, Verdict, Witness};
use crate::domain::{BuildId, ProjectId};
use crate::events::{ConsoleLevel, ConsoleRecord, ConsoleSource};
use crate::release::{Place, SourceMaps};

/// Largest report, bytes; a browser lets a page that ends send as much.
pub const REPORT_BYTES_MAX: usize = 64 * 1024;
/// Entries of a report that are looked at; the client sends fewer.
const ENTRIES_MAX: usize = 25;
/// Repetitions that one entry may claim.
const COUNT_MAX: u32 = 100_000;
/// Lines of a stack that are mapped and kept, and characters of it that are looked at.
const STACK_LINES_MAX: usize = 12;
const STACK_CHARS_MAX: usize = 4_000;
/// Reports of one project at once, and how many a second in the long run: each open page sends one or two when it is loaded.
const BURST: f64 = 120.0;
const PER_S: f64 = 10.0;
/// Projects whose reports are counted; who has not reported for a minute has its whole burst again.
const COUNTED_MAX: usize = 10_000;
const FORGOTTEN_AFTER_S: f64 = 60.0;

/// A report, as it comes.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PreviewReport)]
pub struct Report {
    /// The build that the page says it is of.
    pub build: BuildId,
    /// What was printed and what failed; those that are not known are passed over.
    #[serde(default, deserialize_with = "those_that_can_be_read")]
    #[schema(value_type = Vec<Object>)]
    entries: Vec<Entry>,
    /// Whether it rendered.
    render: Option<Claim>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    source: ConsoleSource,
    level: Option<ConsoleLevel>,
    text: String,
    stack: Option<String>,
    url: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    status: Option<u16>,
    count: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PreviewRender)]
struct Claim {
    verdict: Verdict,
    detail: Option<String>,
}

/// A newer or an older client may say what this daemon does not know: the rest of its report counts.
fn those_that_can_be_read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    let all = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(all.into_iter().take(ENTRIES_MAX).filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

impl Report {
    /// Whether it rendered, if the page says so.
    pub fn render(&self) -> Option<RenderReport> {
        let claim = self.render.as_ref().filter(|claim| claim.verdict != Verdict::Unknown)?;
        let report =
            RenderReport { build_id: self.build, verdict: claim.verdict, detail: claim.detail.clone(), by: Witness::Visitor, time: Timestamp::now() };
        Some(report.bounded())
    }

    /// What its pages said, with places in the sources. Blocking where there are maps to be read.
    pub fn records(self, project: &ProjectId, maps: &mut SourceMaps) -> Vec<ConsoleRecord> {
        let (build_id, time) = (self.build, Timestamp::now());
        self.entries.into_iter().map(|entry| record(entry, build_id, time, project, maps)).collect()
    }
}

fn record(entry: Entry, build_id: BuildId, time: Timestamp, project: &ProjectId, maps: &mut SourceMaps) -> ConsoleRecord {
    let mut mapped = |url: &str, line, column| maps.place(&path_in_release(url, project)?, line, column);
    let (stack, in_stack) = entry.stack.map(|stack| map_stack(&truncate(stack, STACK_CHARS_MAX), &mut mapped)).unzip();
    let is_thrown = matches!(entry.source, ConsoleSource::Error | ConsoleSource::Rejection);
    let thrown_at = entry.url.as_deref().filter(|_| is_thrown).zip(entry.line);
    let direct = thrown_at.and_then(|(url, line)| mapped(url, line, entry.column.unwrap_or(1)));
    let place = in_stack.flatten().or(direct);
    // Where nothing maps it: the place in what was built, which is better than none.
    let built = thrown_at.filter(|(_, line)| place.is_none() && *line > 0).and_then(|(url, line)| Some((path_in_release(url, project)?, line)));
    let (file, line, column, frame) = match (place, built) {
        (Some(place), _) => (Some(place.file), Some(place.line), Some(place.column), place.frame),
        (None, Some((path, line))) => (Some(path), Some(line), entry.column, None),
        (None, None) => (None, None, None, None),
    };
    let asked_for = matches!(entry.source, ConsoleSource::Resource | ConsoleSource::Request);
    let record = ConsoleRecord {
        build_id,
        source: entry.source,
        level: entry.level.filter(|_| entry.source == ConsoleSource::Console).unwrap_or(ConsoleLevel::Error),
        message: entry.text,
        file,
        line,
        column,
        frame,
        stack,
        url: entry.url.filter(|_| asked_for).map(|url| url.split(['?', '#']).next().unwrap_or_default().to_owned()),
        status: entry.status,
        count: entry.count.unwrap_or(1).min(COUNT_MAX),
        time,
    };
    record.bounded()
}

/// The path below the preview's root of a file that a browser names by its whole address.
fn path_in_release(url: &str, project: &ProjectId) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let path = url.path();
    let path = path.strip_prefix(&Urls::path_prefix(project)).or(path.strip_prefix('/'))?;
    // Path mode's permalinks.
    let permalink = path.strip_prefix('@').and_then(|rest| rest.split_once('/')).filter(|(build, _)| build.parse::<BuildId>().is_ok());
    percent_decode(permalink.map_or(path, |(_, rest)| rest))
}

/// A stack with every place that can be found named by its source; and the first of them in the project's own code, else the first.
fn map_stack(stack: &str, mapped: &mut impl FnMut(&str, u32, u32) -> Option<Place>) -> (String, Option<Place>) {
    let (mut lines, mut first, mut first_own) = (Vec::new(), None, None);
    for line in stack.lines().take(STACK_LINES_MAX) {
        let found = place_in(line).and_then(|(start, end, url, number, column)| Some((start, end, mapped(url, number, column)?)));
        let Some((start, end, place)) = found else {
            lines.push(line.to_owned());
            continue;
        };
        lines.push(format!("{}{}:{}:{}{}", &line[..start], place.file, place.line, place.column, &line[end..]));
        if first_own.is_none() && place.is_own() {
            first_own = Some(place.clone());
        }
        first.get_or_insert(place);
    }
    (lines.join("\n"), first_own.or(first))
}

/// `http://…:LINE:COLUMN` in a line of a stack, as Chromium (`at f (…)`) and the others (`f@…`) write it: where it begins and ends, the address,
/// line and column.
fn place_in(line: &str) -> Option<(usize, usize, &str, u32, u32)> {
    let start = line.find("http://").or(line.find("https://"))?;
    let place = line[start..].split([' ', ')']).next()?;
    let (rest, column) = place.rsplit_once(':')?;
    let (url, number) = rest.rsplit_once(':')?;
    Some((start, start + place.len(), url, number.parse().ok()?, column.parse().ok()?))
}

/// How many reports a project's pages may send.
#[derive(Debug, Default)]
pub struct Throttle(DashMap<ProjectId, (f64, Instant)>);

impl Throttle {
    /// Whether one more of `project` is taken at `now`.
    pub fn admits(&self, project: &ProjectId, now: Instant) -> bool {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(project) {
            self.0.retain(|_, (_, last)| now.saturating_duration_since(*last).as_secs_f64() < FORGOTTEN_AFTER_S);
            if self.0.len() >= COUNTED_MAX {
                return false;
            }
        }
        let mut entry = self.0.entry(project.clone()).or_insert((BURST, now));
        let (left, last) = *entry;
        let left = (left + now.saturating_duration_since(last).as_secs_f64() * PER_S).min(BURST);
        *entry = (if left >= 1.0 { left - 1.0 } else { left }, now);
        left >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn demo() -> ProjectId {
        "demo".parse().expect("id")
    }

    fn no_maps() -> SourceMaps {
        SourceMaps::new(Vec::new(), "/nowhere".into())
    }

    fn records(entries: &serde_json::Value) -> Vec<ConsoleRecord> {
        let text = json!({ "build": "00000000000000000000000001", "entries": entries, "more": 1 }).to_string();
        serde_json::from_str::<Report>(&text).expect("a report").records(&demo(), &mut no_maps())
    }

    #[test]
    fn what_is_known_is_taken_and_bounded() {
        let huge = "x".repeat(20_000);
        let all = records(&json!([
            { "source": "console", "level": "warn", "text": "careful", "count": 7 },
            { "source": "telepathy", "text": "?" },
            { "source": "error", "level": "info", "text": huge, "stack": huge, "url": "http://demo.localhost:1/assets/a%20b.js?x", "line": 3, "column": 9 },
            { "source": "request", "text": "GET", "url": "http://demo.localhost:1/api?secret=1#x", "status": 500, "count": 4_000_000_000_u32 },
            7,
        ]));
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].level, all[0].count, all[0].message.as_str()), (ConsoleLevel::Warn, 7, "careful"));
        assert_eq!(
            (all[1].level, all[1].file.as_deref(), all[1].line, all[1].column),
            (ConsoleLevel::Error, Some("assets/a b.js"), Some(3), Some(9))
        );
        assert!(all[1].message.chars().count() < 3000 && all[1].stack.as_ref().is_some_and(|stack| stack.chars().count() < 3000));
        assert_eq!((all[2].url.as_deref(), all[2].status, all[2].count), (Some("http://demo.localhost:1/api"), Some(500), COUNT_MAX));
        let many = vec![json!({ "source": "console", "text": "x" }); 100];
        assert_eq!(records(&json!(many)).len(), ENTRIES_MAX);
    }

    #[test]
    fn a_verdict_is_one_of_those_that_a_page_can_give() {
        let render = |verdict: &str| {
            let text = json!({ "build": "00000000000000000000000001", "render": { "verdict": verdict, "detail": "why" } }).to_string();
            serde_json::from_str::<Report>(&text).ok().map(|report| report.render().map(|render| (render.verdict, render.by)))
        };
        assert_eq!(render("asset_missing"), Some(Some((Verdict::AssetMissing, Witness::Visitor))));
        assert_eq!(render("unknown"), Some(None));
        assert_eq!(render("splendid"), None);
    }

    #[test]
    fn stacks_of_all_browsers() {
        let mut mapped = |url: &str, line, column| {
            let path = path_in_release(url, &demo())?;
            let place = |file: &str| Some(Place { file: file.into(), line: line * 10, column, frame: None });
            match path.as_str() {
                "assets/a.js" => place("src/App.tsx"),
                "assets/v.js" => place("node_modules/react/index.js"),
                _ => None,
            }
        };
        let chromium = "Error: x\n    at r (http://demo.localhost:1/assets/v.js:1:2)\n    at http://demo.localhost:1/assets/a.js?v=1:2:3\n    at async Promise.all (index 0)";
        let (text, place) = map_stack(chromium, &mut mapped);
        assert_eq!(text, "Error: x\n    at r (node_modules/react/index.js:10:2)\n    at src/App.tsx:20:3\n    at async Promise.all (index 0)");
        assert_eq!(place.map(|place| place.file), Some("src/App.tsx".to_owned()), "the first of the project's own");
        let firefox = "f@https://h/preview/demo/@00000000000000000000000001/assets/a.js:4:5\n@https://h/preview/demo/assets/other.js:1:1";
        let (text, place) = map_stack(firefox, &mut mapped);
        assert_eq!(text, "f@src/App.tsx:40:5\n@https://h/preview/demo/assets/other.js:1:1");
        assert_eq!(place.map(|place| place.line), Some(40));
        for odd in ["http://", "at http://x:1", "http://[:1:1", "http://h/a.js:99999999999:1", "https://h/%zz.js:1:1"] {
            assert_eq!(map_stack(odd, &mut mapped), (odd.to_owned(), None));
        }
    }

    #[test]
    fn a_flood_ends_and_others_are_heard() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let taken = (0..1000).filter(|_| throttle.admits(&demo(), now)).count();
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let taken = taken as f64;
        assert!((taken - BURST).abs() < f64::EPSILON, "{taken}");
        assert!(throttle.admits(&"other".parse().expect("id"), now));
        assert!(throttle.admits(&demo(), now + Duration::from_millis(200)), "it may again, slowly");
        assert!(throttle.admits(&demo(), now + Duration::from_millis(200)));
        assert!(!throttle.admits(&demo(), now + Duration::from_millis(200)));
    }
}
