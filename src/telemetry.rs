//! Logs: where they go and how they look.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts logging to standard error.
pub fn init(config: &Log) -> Result<(), ConfigError> {
    let bad = |e: tracing_subscriber::filter::ParseError| ConfigError::BadValue { key: "log.level".into(), message: e.to_string() };
    let filter = EnvFilter::try_new(&config.level).map_err(bad)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match config.format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    Ok(())
}
