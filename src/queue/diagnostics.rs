//! One build's diagnostics: all that is known to be wrong with it, in an order and a size that a model or a person can take in.
//!
//! Failure of the build, warnings, run-time errors, console errors, failed requests, and whether it rendered. Pure.
//!
//! Invariant: each entry's `code` is stable, nothing is told twice, and all entries together are within the caller's limit:
//! what there is no room for is counted.

use std::fmt::Write as _;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::build::truncate;
use crate::domain::status::{Render, Verdict};
use crate::domain::{BuildId, BuildRecord, FailureKind, Outcome, Revision};
use crate::events::{ConsoleLevel, ConsoleRecord, ConsoleSource};
use crate::state::RenderRow;

/// A message that there is too little room for is cut to so many characters before it is left out.
const SHORT_CHARS: usize = 200;
/// What the answer says besides its entries, in characters: taken off the caller's limit.
const OVERHEAD_CHARS: usize = 600;

/// What kind of entry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is told by its name; `Build…` by the failure's kind")]
pub enum Code {
    BuildCompile,
    BuildResolve,
    BuildInstall,
    BuildConfig,
    BuildTimeout,
    BuildMemory,
    BuildOutput,
    BuildInternal,
    BuildWarning,
    RuntimeError,
    UnhandledRejection,
    ConsoleError,
    ResourceFailed,
    RequestFailed,
    RenderEmpty,
    RenderScriptError,
    RenderAssetMissing,
}

impl From<FailureKind> for Code {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Compile => Self::BuildCompile,
            FailureKind::Resolve => Self::BuildResolve,
            FailureKind::Install => Self::BuildInstall,
            FailureKind::Config => Self::BuildConfig,
            FailureKind::Timeout => Self::BuildTimeout,
            FailureKind::Memory => Self::BuildMemory,
            FailureKind::Output => Self::BuildOutput,
            FailureKind::Internal => Self::BuildInternal,
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Diagnostic {
    /// What kind.
    pub code: Code,
    /// What, for a person or a model.
    pub message: String,
    /// Source file, relative to the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The lines around the place, with a mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// The stack, mapped to source files, one call a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// How often it was seen.
    pub count: u32,
}

/// All that is known to be wrong with one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Diagnostics {
    /// The build.
    pub build_id: BuildId,
    /// What it built.
    pub revision: Revision,
    /// How it ended; `null` while it runs.
    #[schema(required)]
    pub outcome: Option<Outcome>,
    /// What browsers made of it.
    pub render: Render,
    /// What is wrong, the most telling first.
    pub entries: Vec<Diagnostic>,
    /// Entries that there was no room for.
    pub omitted: usize,
}

impl Diagnostics {
    /// Puts them together within `max_chars`, as JSON and as text.
    pub fn of(record: &BuildRecord, console: &[ConsoleRecord], render: Option<&RenderRow>, max_chars: usize) -> Self {
        let all = entries(record, console, render);
        let mut left = max_chars.saturating_sub(OVERHEAD_CHARS);
        let (mut kept, mut omitted) = (Vec::new(), 0);
        for entry in all {
            let fitting = [entry.clone(), entry.clone().plain(), entry.short()].into_iter().find(|entry| entry.chars() <= left);
            match fitting {
                Some(entry) => {
                    left -= entry.chars();
                    kept.push(entry);
                }
                None => omitted += 1,
            }
        }
        let seen = render.map_or((Verdict::Unknown, None), |row| (row.verdict, row.detail.clone()));
        let render = Render { build_id: record.build_id, verdict: seen.0, detail: seen.1.map(|text| truncate(text, SHORT_CHARS)) };
        Self { build_id: record.build_id, revision: record.revision, outcome: record.outcome, render, entries: kept, omitted }
    }

    /// Ready to be put into a model's context.
    pub fn text(&self) -> String {
        let outcome = self.outcome.map_or("running", Outcome::as_str);
        let mut text = format!("Build {} of revision {}: {outcome}; in the browser: {}.\n", self.build_id, self.revision, self.render.verdict);
        if self.entries.is_empty() && self.omitted == 0 {
            text.push_str("Nothing is known to be wrong.\n");
        }
        for (number, entry) in self.entries.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{}. {entry}", number + 1);
        }
        if self.omitted > 0 {
            let _ = writeln!(text, "\n{} more left out.", self.omitted);
        }
        text
    }
}

impl Diagnostic {
    fn new(code: Code, message: &str) -> Self {
        Self { code, message: message.to_owned(), file: None, line: None, column: None, frame: None, stack: None, count: 1 }
    }

    /// Without what takes most room.
    fn plain(self) -> Self {
        Self { frame: None, stack: None, ..self }
    }

    fn short(self) -> Self {
        Self { message: truncate(self.message.clone(), SHORT_CHARS), ..self.plain() }
    }

    /// What it takes in the longer one of its two forms.
    fn chars(&self) -> usize {
        let json = serde_json::to_string(self).map_or(usize::MAX, |json| json.chars().count() + 1);
        json.max(self.to_string().chars().count() + 6)
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.message, &self.file, self.line) == (&other.message, &other.file, other.line)
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = serde_json::to_value(self.code).unwrap_or_default();
        write!(f, "[{}]", code.as_str().unwrap_or_default())?;
        if let Some(file) = &self.file {
            write!(f, " {file}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}:{}", self.column.unwrap_or(1))?;
            }
        }
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        writeln!(f, "\n{}", self.message.trim_end())?;
        for block in [&self.frame, &self.stack].into_iter().flatten() {
            writeln!(f, "{}", block.trim_end())?;
        }
        Ok(())
    }
}

/// Everything, in order, each thing once.
fn entries(record: &BuildRecord, console: &[ConsoleRecord], render: Option<&RenderRow>) -> Vec<Diagnostic> {
    let failure = record.failure.iter().map(|failure| Diagnostic {
        file: failure.file.clone(),
        line: failure.line,
        column: failure.column,
        frame: failure.frame.clone(),
        ..Diagnostic::new(failure.kind.into(), &failure.message)
    });
    let warnings = record.warnings.iter().map(|warning| Diagnostic::new(Code::BuildWarning, warning));
    let said = |sources: &'static [ConsoleSource]| {
        let of = move |said: &&ConsoleRecord| sources.contains(&said.source) && said.level == ConsoleLevel::Error;
        console.iter().filter(of).map(from_browser)
    };
    let runtime = said(&[ConsoleSource::Error, ConsoleSource::Rejection]);
    let requests = said(&[ConsoleSource::Resource, ConsoleSource::Request]);
    let in_order = failure.chain(warnings).chain(runtime).chain(said(&[ConsoleSource::Console])).chain(requests).chain(render.and_then(verdict));
    let mut all: Vec<Diagnostic> = Vec::new();
    for entry in in_order {
        // React and others say on the console what they throw, too.
        if !all.iter().any(|known| known.is_like(&entry)) {
            all.push(entry);
        }
    }
    all
}

fn from_browser(said: &ConsoleRecord) -> Diagnostic {
    let code = match said.source {
        ConsoleSource::Console => Code::ConsoleError,
        ConsoleSource::Error => Code::RuntimeError,
        ConsoleSource::Rejection => Code::UnhandledRejection,
        ConsoleSource::Resource => Code::ResourceFailed,
        ConsoleSource::Request => Code::RequestFailed,
    };
    let mut message = said.message.clone();
    if let Some(url) = said.url.as_ref().filter(|url| !message.contains(url.as_str())) {
        let _ = write!(message, ": {url}");
    }
    if let Some(status) = said.status {
        let _ = write!(message, " ({status})");
    }
    Diagnostic {
        message,
        file: said.file.clone(),
        line: said.line,
        column: said.column,
        frame: said.frame.clone(),
        stack: said.stack.clone(),
        count: said.count,
        ..Diagnostic::new(code, "")
    }
}

/// What a verdict says that is not good.
fn verdict(row: &RenderRow) -> Option<Diagnostic> {
    let (code, what) = match row.verdict {
        Verdict::Rendered | Verdict::Unknown => return None,
        Verdict::Empty => (Code::RenderEmpty, "the page stays blank"),
        Verdict::ScriptError => (Code::RenderScriptError, "the page stays blank, for a script threw at its start"),
        Verdict::AssetMissing => (Code::RenderAssetMissing, "the page misses a script or stylesheet that it needs"),
    };
    let detail = row.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    Some(Diagnostic::new(code, &format!("{what}{detail}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::Witness;
    use crate::domain::{Failure, ProjectId};
    use crate::events::Notes;

    fn record() -> BuildRecord {
        let mut record = BuildRecord::begun(BuildId::from_parts(1, 0), Revision(8), jiff::Timestamp::UNIX_EPOCH);
        record.outcome = Some(Outcome::Succeeded);
        record
    }

    fn said(source: ConsoleSource, message: &str) -> ConsoleRecord {
        ConsoleRecord {
            build_id: BuildId::from_parts(1, 0),
            source,
            level: ConsoleLevel::Error,
            message: message.into(),
            file: Some("src/App.tsx".into()),
            line: Some(3),
            column: Some(9),
            frame: Some("  3 | boom()\n    | ^".into()),
            stack: None,
            url: None,
            status: None,
            count: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn codes(diagnostics: &Diagnostics) -> Vec<Code> {
        diagnostics.entries.iter().map(|entry| entry.code).collect()
    }

    #[test]
    fn everything_once_and_in_order() {
        use Code::{BuildCompile, BuildWarning, ConsoleError, RenderScriptError, RequestFailed, RuntimeError};
        let mut record = record();
        record.failure = Some(Failure { file: Some("a.ts".into()), line: Some(1), ..Failure::new(FailureKind::Compile, "no") });
        record.warnings = vec!["careful".into(), "careful".into()];
        let missing = ConsoleRecord { url: Some("/api/x".into()), status: Some(404), ..said(ConsoleSource::Request, "GET failed") };
        let quiet = ConsoleRecord { level: ConsoleLevel::Warn, ..said(ConsoleSource::Console, "a warning") };
        let console =
            [missing, said(ConsoleSource::Console, "boom"), quiet, said(ConsoleSource::Console, "else"), said(ConsoleSource::Error, "boom")];
        let (notes, project): (Notes, ProjectId) = (Notes::default(), "demo".parse().expect("id"));
        assert!(console.iter().all(|said| notes.add(&project, said)) && !notes.add(&project, &console[4]), "the second time it is counted");
        let console = notes.of(&project, record.build_id);
        let row = crate::state::RenderRow::new(Verdict::ScriptError, Some("boom".into()), Witness::Visitor);
        let found = Diagnostics::of(&record, &console, Some(&row), 10_000);
        assert_eq!(codes(&found), [BuildCompile, BuildWarning, RuntimeError, ConsoleError, RequestFailed, RenderScriptError]);
        assert_eq!((found.entries[2].count, found.entries[4].message.as_str(), found.omitted), (2, "GET failed: /api/x (404)", 0));
        let text = found.text();
        for part in ["[build_compile] a.ts:1:1\nno", "[runtime_error] src/App.tsx:3:9 (2 times)\nboom\n  3 | boom()", "in the browser: script_error"]
        {
            assert!(text.contains(part), "{text}");
        }
        notes.forget(&project);
        assert!(notes.of(&project, record.build_id).is_empty());
        assert!(Diagnostics::of(&self::record(), &[], None, 1000).text().contains("Nothing is known to be wrong"));
    }

    #[test]
    fn it_is_as_short_as_asked() {
        let long = |n: usize| ConsoleRecord {
            frame: Some("f".repeat(1_900)),
            stack: Some("s\"\n".repeat(600)),
            ..said(ConsoleSource::Error, &format!("{n} {}", "ä".repeat(1_900)))
        };
        let console: Vec<_> = (0..40).map(long).collect();
        let row = crate::state::RenderRow::new(Verdict::Empty, Some("d".repeat(2_000)), Witness::Headless);
        for max in [1_000, 2_000, 8_000, 50_000] {
            let found = Diagnostics::of(&record(), &console, Some(&row), max);
            let json = serde_json::to_string(&found).expect("json");
            assert!(json.chars().count() <= max && found.text().chars().count() <= max, "{max}: {} {}", json.len(), found.text().len());
            assert!(!found.entries.is_empty() && found.entries.len() + found.omitted == 41, "{max}");
        }
    }
}
