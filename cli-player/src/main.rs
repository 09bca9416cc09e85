//! The program `nearcast`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nearcast_cli::commands::run()
}
