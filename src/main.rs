//! weir: a Kubernetes Service proxy on nftables.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::{Cli, Command};
use weir::commands::{self, Owner};
use weir::config::flags::normalized;
use weir::error::CommandError;

fn main() -> ExitCode {
    let cli = Cli::parse_from(normalized(std::env::args_os()));
    let error_code = if matches!(cli.command, Some(Command::Diff(_))) { 2 } else { 1 };
    let Some(command) = cli.command else {
        return end(commands::proxy(&cli.flags), error_code);
    };
    let result = match command {
        Command::Print(args) => commands::print(&args),
        Command::Apply { manifests, verbose } => commands::apply(&manifests, verbose),
        Command::Diff(args) => commands::diff(&args),
        Command::Run { source, node, serve } => commands::run(&source, &node, &serve),
        Command::Cleanup { kube_proxy } => commands::cleanup(match kube_proxy {
            true => Owner::KubeProxy,
            false => Owner::Weir,
        }),
        Command::Pause => commands::pause(),
    };
    end(result, error_code)
}

fn end(result: Result<ExitCode, CommandError>, error_code: u8) -> ExitCode {
    result.unwrap_or_else(|failure: CommandError| {
        failure.report();
        ExitCode::from(error_code)
    })
}
