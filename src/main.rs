//! weir: a Kubernetes Service proxy on nftables.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::{Cli, Command};
use weir::commands::{self, Failure};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let error_code = if matches!(command, Command::Diff(_)) { 2 } else { 1 };
    let result = match command {
        Command::Print(args) => commands::print(&args),
        Command::Apply { manifests, verbose } => commands::apply(&manifests, verbose),
        Command::Diff(args) => commands::diff(&args),
        Command::Run { source, node } => commands::run(&source, &node),
        Command::Cleanup => commands::cleanup(),
    };
    result.unwrap_or_else(|failure: Failure| {
        failure.report();
        ExitCode::from(error_code)
    })
}
