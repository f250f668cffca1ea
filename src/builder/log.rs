//! A build's log: a bounded file of plain lines, and the same lines live.
//!
//! Invariant: at most `build.log_kb` are kept; what comes beyond is counted, not stored. Writing never
//! blocks the caller: a thread of its own appends to the files of all builds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use jiff::Timestamp;

use crate::domain::{BuildId, ProjectDir, ProjectId};
use crate::events::{BuildLine, Event, Events, Level, LogFeed, LogLine};
use crate::release::swap_log;

/// Longest line that is kept, in characters.
const LINE_CHARS_MAX: usize = 4_000;
/// A build that writes so many times more than `build.log_kb` is stopped.
const FLOOD_FACTOR: u64 = 16;

/// Appends to log files.
#[derive(Debug, Clone)]
pub struct LogWriter(mpsc::Sender<Entry>);

enum Entry {
    Line(Arc<File>, String),
    /// Everything before this is in its file.
    Flushed(tokio::sync::oneshot::Sender<()>),
}

impl LogWriter {
    /// Starts the thread; it ends with the last handle.
    pub fn start() -> io::Result<Self> {
        let (sender, entries) = mpsc::channel::<Entry>();
        thread::Builder::new().name("log-writer".into()).spawn(move || {
            for entry in entries {
                match entry {
                    Entry::Line(file, line) => {
                        if let Err(error) = (&*file).write_all(line.as_bytes()) {
                            tracing::warn!(%error, "a line of a build log could not be written");
                        }
                    }
                    Entry::Flushed(waiter) => drop(waiter.send(())),
                }
            }
        })?;
        Ok(Self(sender))
    }
}

/// One build's log while it runs.
#[derive(Debug)]
pub struct BuildLog {
    project: ProjectId,
    build: BuildId,
    events: Arc<Events>,
    feed: Arc<LogFeed>,
    file: Arc<File>,
    writer: LogWriter,
    limit: u64,
    written: AtomicU64,
}

impl BuildLog {
    /// Begins the log of `build`, and makes it the project's newest. Blocking.
    pub fn create(
        project: ProjectId,
        dir: &ProjectDir,
        build: BuildId,
        limit_bytes: u64,
        events: Arc<Events>,
        writer: LogWriter,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir.releases())?;
        let file = Arc::new(File::create(dir.log(build))?);
        swap_log(dir, build)?;
        let feed = events.open_log(build);
        Ok(Self { project, build, events, feed, file, writer, limit: limit_bytes, written: AtomicU64::new(0) })
    }

    /// A log that nobody reads, for builds that nobody sees.
    pub fn silent(project: ProjectId, writer: LogWriter, limit_bytes: u64) -> io::Result<Self> {
        let (events, build) = (Arc::<Events>::default(), BuildId::from_parts(0, 0));
        let (feed, file) = (events.open_log(build), Arc::new(File::options().write(true).open("/dev/null")?));
        Ok(Self { project, build, events, feed, file, writer, limit: limit_bytes, written: AtomicU64::new(0) })
    }

    /// Something goes on.
    pub fn info(&self, message: impl AsRef<str>) {
        self.add(Level::Info, message.as_ref());
    }

    /// Something may matter at run time.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.add(Level::Warn, message.as_ref());
    }

    /// Something failed.
    pub fn error(&self, message: impl AsRef<str>) {
        self.add(Level::Error, message.as_ref());
    }

    /// Adds a text, a line for each of its lines.
    pub fn add(&self, level: Level, text: &str) {
        for line in text.lines().map(clean).filter(|line| !line.is_empty()) {
            self.add_line(level, line);
        }
    }

    fn add_line(&self, level: Level, message: String) {
        let bytes = message.len() as u64 + 32;
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        let message = match before {
            _ if before + bytes <= self.limit => message,
            _ if before <= self.limit => "the log is full (build.log_kb); what follows is not kept".to_owned(),
            _ => return,
        };
        // To the millisecond, as the file has it: so a log reads the same live and afterwards.
        let now = Timestamp::now();
        let line = LogLine { time: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now), level, message };
        // The thread lives as long as this handle to it.
        let _ = self.writer.0.send(Entry::Line(self.file.clone(), format!("{line}\n")));
        let number = self.feed.push(line.clone());
        self.events.publish(&self.project, &Event::Log(BuildLine { build_id: self.build, number, line }));
    }

    /// Counts what was written and not even read as lines.
    pub(super) fn count_dropped(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the build wrote so much that it should be stopped.
    pub fn is_flooded(&self) -> bool {
        self.written.load(Ordering::Relaxed) > self.limit * FLOOD_FACTOR
    }

    /// Waits until every line is in the file, and ends the live log.
    pub async fn close(&self) {
        let (sender, flushed) = tokio::sync::oneshot::channel();
        if self.writer.0.send(Entry::Flushed(sender)).is_ok() {
            let _ = flushed.await;
        }
        self.events.close_log(self.build);
    }
}

/// Reads a log file back. Blocking.
pub fn read_log(path: &Path) -> io::Result<Vec<LogLine>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(text.lines().filter_map(parse_line).collect())
}

fn parse_line(line: &str) -> Option<LogLine> {
    let (time, rest) = line.split_once(' ')?;
    let (level, message) = (rest.get(..5)?, rest.get(6..).unwrap_or_default());
    let level = [Level::Info, Level::Warn, Level::Error].into_iter().find(|l| l.as_str() == level.trim_end())?;
    Some(LogLine { time: time.parse().ok()?, level, message: message.to_owned() })
}

/// Takes out terminal escapes and control characters, and cuts what is too long.
fn clean(line: &str) -> String {
    let mut out = String::with_capacity(line.len().min(LINE_CHARS_MAX));
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // ESC [ parameters letter
            '\u{1b}' => drop(chars.by_ref().find(char::is_ascii_alphabetic)),
            '\t' => out.push_str("  "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    crate::domain::build::truncate(out.trim_end().to_owned(), LINE_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DataDir;

    fn log(limit: u64) -> (tempfile::TempDir, ProjectDir, BuildLog) {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = DataDir::new(root.path()).project(&"demo".parse().expect("id"));
        let writer = LogWriter::start().expect("thread");
        let log = BuildLog::create("demo".parse().expect("id"), &dir, BuildId::from_parts(1, 1), limit, Arc::default(), writer).expect("create");
        (root, dir, log)
    }

    #[tokio::test]
    async fn lines_read_back_without_escapes() {
        let (_root, dir, log) = log(10_000);
        log.info("\u{1b}[31mred\u{1b}[0m\tand\u{7} more\nsecond");
        log.error("bad");
        log.close().await;
        let lines = read_log(&dir.build_log()).expect("read");
        let texts: Vec<_> = lines.iter().map(|line| (line.level, line.message.as_str())).collect();
        assert_eq!(texts, [(Level::Info, "red  and more"), (Level::Info, "second"), (Level::Error, "bad")]);
    }

    #[tokio::test]
    async fn a_full_log_says_so_once_and_a_flood_is_noticed() {
        let (_root, dir, log) = log(200);
        for _ in 0..20 {
            log.info("x".repeat(60));
        }
        assert!(!log.is_flooded());
        for _ in 0..40 {
            log.info("x".repeat(60));
        }
        assert!(log.is_flooded());
        log.close().await;
        let lines = read_log(&dir.build_log()).expect("read");
        assert_eq!(lines.len(), 3);
        assert!(lines[2].message.contains("build.log_kb"));
    }
}
