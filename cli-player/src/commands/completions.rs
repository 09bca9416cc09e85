//! `nearcast completions`: a script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, Failure};

/// What `completions` can be told.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "nearcast", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script).map_err(Failure::io(
        "player.output",
        "cannot print the script",
        "look where standard output goes",
    ))
}
