//! Generators: scripts of the app's `package.json` that run before Vite because the project asks for them by name
//! (`"previewd": {"generate": ["codegen"]}`).
//!
//! 1. read the names  2. make the sources the project's own: copies in place of the links to synced files
//! 3. run each in the sandbox, within the limits of a build  4. take out of `work/` what leads out of it
//!
//! Invariant: nothing runs that is not asked for by name, and what a script leaves in `work/` are plain files and
//! folders: later steps of the daemon may walk it.

use std::fs;
use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::job::{Job, Run, Script};
use super::place::Slot;
use super::worker::Worker;
use super::{BuildLog, PACKAGE_JSON, workspace};
use crate::disk::{blocking, remove_tree};
use crate::domain::app_root::join;
use crate::domain::{Failure, FailureKind};

/// Generators of one project at most.
const SCRIPTS_MAX: usize = 16;

/// How it went.
#[derive(Debug)]
pub(super) enum Generated {
    /// The project asks for nothing.
    Nothing,
    /// `work/` is new, and has no `node_modules`.
    Done,
    /// The build ends with this.
    Ended(Run),
}

/// Runs what the project asks for.
pub(super) async fn run(worker: &Worker, job: &Job, slot: &Slot, log: &Arc<BuildLog>, cancel: &CancellationToken) -> anyhow::Result<Generated> {
    let (work, app) = (job.work.clone(), job.app.clone());
    let text = blocking(move || match fs::read_to_string(work.join(app).join(PACKAGE_JSON)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text,
    });
    let scripts = match scripts(&text.await?) {
        Ok(scripts) if scripts.is_empty() => return Ok(Generated::Nothing),
        Ok(scripts) => scripts,
        Err(message) => {
            let failure = Failure { file: Some(join(&job.app, PACKAGE_JSON)), ..Failure::new(FailureKind::Config, message) };
            return Ok(Generated::Ended(Run::Failed { failure, claim: None }));
        }
    };
    let work = job.work.clone();
    blocking(move || workspace::own_copies(&work)).await?;
    let ended = run_all(worker, job, slot, &scripts, log, cancel).await;
    let work = job.work.clone();
    let ended = match ended {
        Ok(None) => match blocking(move || workspace::keep_plain(&work)).await {
            Ok(()) => return Ok(Generated::Done),
            Err(error) => {
                let message = format!("what the scripts of previewd.generate left in the sources cannot be read: {error}");
                Ok(Generated::Ended(Run::Failed { failure: Failure::new(FailureKind::Config, message), claim: None }))
            }
        },
        Ok(Some(ended)) => Ok(Generated::Ended(ended)),
        Err(error) => Err(error),
    };
    // What a script that was cut short left is not looked at: the next build makes `work/` anew.
    let work = job.work.clone();
    if let Err(error) = blocking(move || remove_tree(&work)).await {
        tracing::warn!(work = %job.work.display(), %error, "what a generator left could not be removed");
    }
    ended
}

async fn run_all(
    worker: &Worker,
    job: &Job,
    slot: &Slot,
    scripts: &[Script],
    log: &Arc<BuildLog>,
    cancel: &CancellationToken,
) -> anyhow::Result<Option<Run>> {
    for script in scripts {
        log.info(format!("running the script {}, as package.json asks: {}", script.name, script.command));
        match worker.run_script(job, slot, script, log, cancel).await? {
            Run::Done { .. } => {}
            ended => return Ok(Some(ended)),
        }
    }
    Ok(None)
}

/// The scripts that a `package.json` wants to have run, in order. An error is the project's, in one line.
fn scripts(package_json: &str) -> Result<Vec<Script>, String> {
    // One that is not JSON has failed before.
    let package: Value = serde_json::from_str(package_json.trim_start_matches('\u{feff}')).unwrap_or_default();
    let names = match &package["previewd"]["generate"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(names) if names.len() <= SCRIPTS_MAX && names.iter().all(Value::is_string) => names.iter().filter_map(Value::as_str),
        _ => return Err(format!("previewd.generate in package.json must be a list of at most {SCRIPTS_MAX} names of scripts")),
    };
    names
        .map(|name| match package["scripts"][name].as_str() {
            Some(command) => Ok(Script { name: name.to_owned(), command: command.to_owned() }),
            None => Err(format!("previewd.generate in package.json names the script \"{name}\", which is not there")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_by_name_runs() {
        let named = |text: &str| scripts(text).map(|scripts| scripts.into_iter().map(|s| s.name + "=" + &s.command).collect::<Vec<_>>());
        assert_eq!(named(r#"{"scripts":{"codegen":"a","prebuild":"b"}}"#), Ok(Vec::new()));
        assert_eq!(named("not json"), Ok(Vec::new()));
        let text = r#"{"scripts":{"a":"1","b":"2","c":"3"},"previewd":{"generate":["c","a"]}}"#;
        assert_eq!(named(text), Ok(vec!["c=3".to_owned(), "a=1".to_owned()]));
        let missing = named(r#"{"scripts":{"a":"1"},"previewd":{"generate":["gone"]}}"#).expect_err("missing");
        assert!(missing.contains("\"gone\""), "{missing}");
        for wrong in [r#"{"previewd":{"generate":"a"}}"#, r#"{"previewd":{"generate":[1]}}"#, r#"{"previewd":{"generate":{}}}"#] {
            assert!(named(wrong).expect_err("wrong").contains("must be a list"), "{wrong}");
        }
    }
}
