//! Alerts and dashboard name what there is: every metric and label of theirs is in `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::Daemon;

const RULES: &str = include_str!("../../config/prometheus-rules.yml");
const DASHBOARD: &str = include_str!("../../config/grafana-dashboard.json");
const OPERATING: &str = include_str!("../../docs/OPERATING.md");
/// What Prometheus adds to what it scrapes.
const ADDED_LABELS: [&str; 2] = ["instance", "job"];

/// Metrics in `/metrics`, each with the labels of its samples.
type Metrics = BTreeMap<String, BTreeSet<String>>;

fn split_name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Names that are compared in the braces at the start of `text`: `{a="x",b=~"y"}`.
fn labels(text: &str) -> BTreeSet<String> {
    let Some(rest) = text.strip_prefix('{') else { return BTreeSet::new() };
    // Values stand in quotes, and may hold whatever else divides: every second part is outside of them.
    let outside = rest.split('"').step_by(2);
    let mut names = BTreeSet::new();
    for part in outside {
        let (inside, after) = part.split_once('}').map_or((part, None), |(inside, after)| (inside, Some(after)));
        names.extend(inside.split(|c| !is_word(c)).filter(|name| !name.is_empty()).map(str::to_owned));
        if after.is_some() {
            break;
        }
    }
    names
}

/// Every `previewd_…` in `text`, with the labels that are compared there.
fn used(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let starts = text.match_indices("previewd_").map(|(at, _)| at).filter(|at| !text[..*at].ends_with(is_word));
    starts.map(|at| split_name(&text[at..])).map(|(name, rest)| (name.to_owned(), labels(rest))).collect()
}

fn offered(metrics: &str) -> Metrics {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut offered = Metrics::new();
    for (name, labels) in samples.flat_map(used) {
        offered.entry(name).or_default().extend(labels);
    }
    offered
}

/// What is named and is not there.
fn missing(text: &str, offered: &Metrics) -> Vec<String> {
    let is_missing = |(name, labels): &(String, BTreeSet<String>)| match offered.get(name) {
        None => true,
        Some(known) => labels.iter().any(|label| !known.contains(label) && !ADDED_LABELS.contains(&label.as_str())),
    };
    used(text).into_iter().filter(is_missing).map(|(name, labels)| format!("{name} {labels:?}")).collect()
}

/// Every expression below a key of that name.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_metric_of_alerts_and_dashboard_exists() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let offered = offered(&daemon.http.get("/metrics").await.text());
    let rules: Value = serde_saphyr::from_str(RULES).expect("rules");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("dashboard");
    for (file, value, least) in [("prometheus-rules.yml", rules, 10), ("grafana-dashboard.json", dashboard, 15)] {
        let mut found = Vec::new();
        expressions(&value, &mut found);
        assert!(found.len() >= least, "{file}: {found:?}");
        for expression in found {
            assert_eq!(missing(&expression, &offered), [""; 0], "{file}: {expression}");
        }
    }
    let wrong = r#"rate(previewd_builds_total{result="x"}[5m]) / previewd_no_such"#;
    assert_eq!(missing(wrong, &offered).len(), 2, "it would be seen");
}

#[test]
fn every_alert_is_explained() {
    let rules: Value = serde_saphyr::from_str(RULES).expect("rules");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(OPERATING.contains(&format!("`{name}`")), "{name} is not in docs/OPERATING.md");
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("json");
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().expect("variables").iter().map(|v| v["type"].as_str()).collect();
    assert_eq!(variables, [Some("datasource"), Some("query")]);
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("id")), "{panel:#}");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a position");
        for place in (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))) {
            assert!(place.0 < 24 && taken.insert(place), "{} lies on another panel", panel["title"]);
        }
        let bound = panel["type"] == "row" || panel["targets"].as_array().expect("targets").iter().all(|t| t["datasource"]["uid"] == "${datasource}");
        assert!(bound, "{} is bound to one data source", panel["title"]);
    }
}
