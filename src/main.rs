//! The binary: parse, dispatch, exit.

use std::process::ExitCode;

use clap::Parser;
use previewd::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
