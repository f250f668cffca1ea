//! The binary: parse, dispatch, exit.

use std::process::ExitCode;

use clap::Parser;
use previewd::cli::Cli;
use previewd::sandbox;

fn main() -> ExitCode {
    // First of all: there is no other thread yet, and no child.
    if let Some(code) = sandbox::become_child() {
        return code;
    }
    sandbox::keep_inherited_descriptors();
    Cli::parse().run()
}
