//! A project's events as its listeners get them.

use super::*;
use crate::domain::status::{State, Status};
use crate::domain::{BuildId, BuildRecord, Failure, FailureKind, Outcome, ProjectId, Revision};
use crate::events::{BuildLine, Events, Level, LogLine, PublishReason, Published};

const NOW: Duration = Duration::ZERO;

fn project() -> ProjectId {
    "demo".parse().expect("id")
}

fn line(number: usize) -> Event {
    let line = LogLine { time: jiff::Timestamp::UNIX_EPOCH, level: Level::Info, message: format!("line {number}") };
    Event::Log(BuildLine { build_id: BuildId::from_parts(1, 0), number, line })
}

fn status(build: u64, outcome: Outcome) -> Event {
    let mut record = BuildRecord::begun(BuildId::from_parts(build, 0), Revision(build), jiff::Timestamp::UNIX_EPOCH);
    record.outcome = Some(outcome);
    record.failure = (outcome == Outcome::Failed).then(|| Failure::new(FailureKind::Compile, "a\nmessage"));
    Event::Status(Box::new(Status {
        project_id: project(),
        state: State::Ready,
        revision: Revision(build),
        live: None,
        last_build: Some(record),
        running: None,
        render: None,
        preview_url: String::new(),
        sandbox: crate::config::SandboxMode::Required,
    }))
}

/// Everything that is there now, as `event: id`.
async fn drain(listener: &mut Listener) -> Vec<String> {
    let mut all = Vec::new();
    while let Next::Event(frame) = listener.next(NOW).await {
        let text = String::from_utf8(frame.to_vec()).expect("utf-8");
        assert!(text.ends_with("\n\n") && text.lines().count() == 4, "{text}");
        all.push(text.lines().nth(1).expect("event").to_owned());
    }
    all
}

fn id_of(frame: &Next) -> String {
    let Next::Event(frame) = frame else { panic!("{frame:?}") };
    let text = String::from_utf8(frame.to_vec()).expect("utf-8");
    text.lines().next().and_then(|line| line.strip_prefix("id: ")).expect("id").to_owned()
}

#[tokio::test]
async fn every_listener_gets_the_same_bytes_in_order() {
    let events = Events::default();
    events.publish(&project(), &line(0));
    let mut listeners: Vec<_> = (0..3).map(|_| events.follow(&project(), Audience::Api, None)).collect();
    assert!(listeners.iter().all(Listener::is_fresh));
    events.publish(&project(), &line(1));
    events.publish(&"other".parse().expect("id"), &line(9));
    events.publish(&project(), &line(2));
    let mut first = Vec::new();
    for listener in &mut listeners {
        let Next::Event(frame) = listener.next(NOW).await else { panic!("an event") };
        first.push(frame);
        let Next::Event(second) = listener.next(NOW).await else { panic!("an event") };
        assert!(String::from_utf8_lossy(&second).contains("line 2"));
        assert_eq!(listener.next(NOW).await, Next::Silence);
    }
    assert!(first.iter().all(|frame| frame.as_ptr() == first[0].as_ptr()), "one copy for all");
}

#[tokio::test]
async fn a_stream_resumes_where_it_broke_off() {
    let events = Events::default();
    let mut before = events.follow(&project(), Audience::Api, None);
    (0..3).for_each(|n| events.publish(&project(), &line(n)));
    let first = id_of(&before.next(NOW).await);
    drop(before);
    events.publish(&project(), &line(3));
    let mut after = events.follow(&project(), Audience::Api, Some(&first));
    assert!(!after.is_fresh());
    assert_eq!(drain(&mut after).await.len(), 3, "two that it missed, and one that came while it was away");
    for unknown in ["", "x", "1", "00000000-1", &first.replace('-', "-9"), &first.replace('-', "")] {
        assert!(events.follow(&project(), Audience::Api, Some(unknown)).is_fresh(), "{unknown:?}");
    }
    let other_life = Events::default();
    let _follower = other_life.follow(&project(), Audience::Api, None);
    other_life.publish(&project(), &line(0));
    assert!(other_life.follow(&project(), Audience::Api, Some(&first)).is_fresh(), "an id of an earlier run");
}

#[tokio::test]
async fn what_is_told_first_has_an_id_to_come_back_with() {
    let events = Events::default();
    let _other = events.follow(&project(), Audience::Api, None);
    events.publish(&project(), &line(0));
    let listener = events.follow(&project(), Audience::Api, None);
    let state = listener.state("status", &1);
    events.publish(&project(), &line(1));
    let mut back = events.follow(&project(), Audience::Api, Some(&id_of(&Next::Event(state))));
    assert!(!back.is_fresh());
    assert_eq!(drain(&mut back).await.len(), 1);
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_so() {
    let events = Events::default();
    let (mut slow, mut quick) = (events.follow(&project(), Audience::Api, None), events.follow(&project(), Audience::Api, None));
    for n in 0..=EVENTS_MAX {
        events.publish(&project(), &line(n));
        assert!(matches!(quick.next(NOW).await, Next::Event(_)));
    }
    assert_eq!(slow.next(NOW).await, Next::Behind);
    let large = Event::Log(BuildLine {
        build_id: BuildId::from_parts(1, 0),
        number: 0,
        line: LogLine { time: jiff::Timestamp::UNIX_EPOCH, level: Level::Info, message: "x".repeat(BYTES_MAX / 2) },
    });
    let mut slow = events.follow(&project(), Audience::Api, None);
    (0..3).for_each(|_| events.publish(&project(), &large));
    assert_eq!(slow.next(NOW).await, Next::Behind, "bytes count too");
}

#[tokio::test]
async fn a_previews_origin_hears_of_releases_and_failures_alone() {
    let events = Events::default();
    let mut preview = events.follow(&project(), Audience::Preview, None);
    let mut api = events.follow(&project(), Audience::Api, None);
    let build_id = BuildId::from_parts(2, 0);
    let published =
        Published { build_id, revision: Revision(2), reason: PublishReason::Build, previous_build_id: None, styles_only: false, styles: Vec::new() };
    let told = [line(0), status(1, Outcome::Failed), status(1, Outcome::Failed), Event::Published(published), status(2, Outcome::Succeeded), line(1)];
    for event in &told {
        events.publish(&project(), event);
    }
    assert_eq!(drain(&mut preview).await, ["event: failed", "event: published", "event: fixed"], "each end of a build once");
    assert_eq!(drain(&mut api).await.len(), told.len());
}

#[tokio::test]
async fn what_was_told_first_is_not_told_again() {
    let events = Events::default();
    let (mut told, mut other) = (events.follow(&project(), Audience::Preview, None), events.follow(&project(), Audience::Preview, None));
    told.knows_of(BuildId::from_parts(1, 0));
    events.publish(&project(), &status(1, Outcome::Succeeded));
    events.publish(&project(), &status(2, Outcome::Failed));
    assert_eq!(drain(&mut told).await, ["event: failed"]);
    assert_eq!(drain(&mut other).await, ["event: fixed", "event: failed"]);
}

#[tokio::test]
async fn a_deletion_ends_streams_after_what_was_told() {
    let events = Events::default();
    let mut listener = events.follow(&project(), Audience::Api, None);
    events.publish(&project(), &line(0));
    events.end(&project());
    assert!(matches!(listener.next(NOW).await, Next::Event(_)));
    assert_eq!(listener.next(NOW).await, Next::Closed);
    assert_eq!((events.is_followed(&project()), events.listeners()), (false, 1));
    drop(listener);
    assert_eq!(events.listeners(), 0);
}

#[test]
fn what_nobody_follows_is_let_go() {
    let channel = Arc::new(Channel::new(0, 0));
    let listener = Channel::follow(&channel, Audience::Api, None, Arc::default());
    assert!(!channel.is_idle_for(NOW));
    drop(listener);
    assert!(channel.is_idle_for(NOW) && !channel.is_idle_for(Duration::from_mins(1)));
}
