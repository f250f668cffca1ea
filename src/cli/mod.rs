//! The command line: what can be said, and which exit code follows.
//!
//! Exit codes: 0 done; 1 it failed (a build, a call, the daemon); 2 it was said wrong (arguments, configuration).

mod check_store;
mod client;
mod push;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::auth::{Claims, Scope, mint};
use crate::config::{Config, ConfigError, Environment};
use crate::domain::{BuildId, ProjectId};
use crate::{http, sandbox, server, telemetry};
use client::Client;

/// How long the process waits for blocking work after everything else has stopped.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);
/// Longest life of a token that the command line makes.
const TOKEN_TTL_MAX: SignedDuration = SignedDuration::from_hours(24 * 30);

/// previewd turns a webhook into a live preview.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    /// Configuration file; without one, the embedded defaults and the environment.
    #[arg(long, global = true, env = "PREVIEWD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve,
    /// Check the configuration and say what is wrong with it.
    CheckConfig,
    /// Copy a folder into the source, sync it, and wait for its preview.
    Push(push::Push),
    /// Show how a project stands.
    Status {
        /// The project.
        project: ProjectId,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show a build's log.
    Logs {
        /// The project.
        project: ProjectId,
        /// Go on until the build ends.
        #[arg(short, long)]
        follow: bool,
        /// A certain build; without it, the one that runs or the newest.
        #[arg(long)]
        build: Option<BuildId>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make a short-lived token for one project, signed with the first of `auth.webhook_secrets`.
    Token {
        /// The project that it is for.
        #[arg(long)]
        project: ProjectId,
        /// What it allows.
        #[arg(long, value_enum)]
        scope: Scope,
        /// How long it is valid, such as 90s, 15m or 1h.
        #[arg(long, default_value = "1h")]
        ttl: SignedDuration,
    },
    /// Check every file of the store and the layers, with the daemon running or not.
    CheckStore {
        /// Remove what is damaged, and the layers that use it: the next build installs them anew.
        #[arg(long)]
        repair: bool,
    },
    /// What the daemon starts inside of an install's sandbox (src/sandbox/handover.rs).
    #[command(name = sandbox::HANDOVER_COMMAND, hide = true)]
    HandOver {
        /// What it becomes.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Print the description of the API, OpenAPI 3.1: what `GET /openapi.json` answers.
    Openapi,
}

/// Which daemon a client command talks to.
#[derive(Debug, Clone, Args)]
struct Daemon {
    /// Its address; without it, the one that the daemon wrote to its data directory.
    #[arg(long, env = "PREVIEWD_URL")]
    url: Option<String>,
    /// A bearer token; without it, a configured one, or the one in the data directory.
    #[arg(long, env = "PREVIEWD_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Why a command did not do what it should.
#[derive(Debug)]
enum CliError {
    /// Exit code 2.
    Usage(String),
    /// Exit code 1.
    Failed(anyhow::Error),
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        // What is wrong with a configuration may show only at the start: a listener that was handed to us.
        error.downcast::<ConfigError>().map_or_else(Self::Failed, Self::from)
    }
}

impl Cli {
    /// Does what was said.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(CliError::Usage(message)) => {
                eprintln!("previewd: {message}");
                ExitCode::from(2)
            }
            Err(CliError::Failed(error)) => {
                eprintln!("previewd: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(self) -> Result<(), CliError> {
        if let Command::HandOver { command } = &self.command {
            return Err(CliError::Failed(sandbox::hand_over_and_run(command).into()));
        }
        let env = Environment::read()?;
        let config = Config::load(self.config.as_deref(), env.overrides()?)?;
        match self.command {
            Command::Serve => {
                telemetry::init(&config.log)?;
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
                let served = runtime.block_on(server::serve(config, env));
                // What still blocks a thread then is compression of a release, which the next start does without.
                runtime.shutdown_timeout(BLOCKING_GRACE);
                Ok(served?)
            }
            Command::CheckConfig => {
                println!("the configuration is valid");
                Ok(())
            }
            Command::Push(push) => block_on(push.run(&config)),
            Command::Status { project, daemon } => block_on(async {
                let status = Client::new(&config, &daemon)?.status(&project).await?;
                print(&format!("{status:#}\n"));
                anyhow::Ok(())
            }),
            Command::Logs { project, follow, build, daemon } => {
                block_on(async { Client::new(&config, &daemon)?.print_logs(&project, build, follow).await })
            }
            Command::Token { project, scope, ttl } => token(&config, project, scope, ttl),
            Command::CheckStore { repair } => check_store::run(&config, repair),
            // Above.
            Command::HandOver { .. } => Ok(()),
            Command::Openapi => {
                print(http::document());
                Ok(())
            }
        }
    }
}

fn block_on<E: Into<CliError>>(work: impl Future<Output = Result<(), E>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    runtime.block_on(work).map_err(Into::into)
}

fn token(config: &Config, project: ProjectId, scope: Scope, ttl: SignedDuration) -> Result<(), CliError> {
    let Some(secret) = config.auth.webhook_secrets.first() else {
        return Err(CliError::Usage("a token is signed with the first of `auth.webhook_secrets`, and none is configured".into()));
    };
    if ttl <= SignedDuration::ZERO || ttl > TOKEN_TTL_MAX {
        return Err(CliError::Usage("--ttl is more than 0 and at most 30 days".into()));
    }
    let exp = (jiff::Timestamp::now() + ttl).as_second();
    let claims = Claims { sub: project, scope, exp: u64::try_from(exp).unwrap_or_default() };
    print(&format!("{}\n", mint(secret, &claims)?));
    Ok(())
}

/// Writes to standard output. Whoever reads it may stop at any time (`… | head`): that is no error.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
