//! `nearcast-lab`: breaks networks on purpose and proves what the viewer saw; measures decisions over recorded networks and
//! in worlds that chance drew.

mod abr;
mod compare;
mod decide;
mod documents;
mod edges;
mod fit;
mod interrupt;
mod mistake;
mod moment;
mod mutants;
mod packet;
mod page;
mod relay_bench;
mod relay_command;
mod report;
mod run;
mod schema;
mod sets;
mod stage;
mod write;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mistake::Mistake;

/// Breaks networks on purpose and proves what the viewer saw; measures decisions over recorded networks.
#[derive(Debug, Parser)]
#[command(
    name = "nearcast-lab",
    version,
    after_help = "Exit status: 0 all is as expected; 1 something is not, or it could not be found out (what and why is said); \
                  2 a mistake in the arguments or in a scenario file. `report` tells, whether that failed or not: \
                  1 is of what was interrupted, or cannot be read. `packet` ends with the status of the program that it runs."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios and says what came of them
    Run(run::Arguments),
    /// Breaks the core on purpose, and says which scenarios notice
    Mutants(mutants::Arguments),
    /// Runs a program behind a link that delays, drops and limits its packets
    Packet(packet::Arguments),
    /// Runs scenarios in virtual time, over sockets and over packets, and prints how far that differs
    Agree(run::AgreeArguments),
    /// Opens what was written earlier: shows, converts, compares
    Report(report::Arguments),
    /// Lists the figures that expectations are about
    Figures,
    /// Prints a JSON schema, for editors and other programs
    Schema {
        /// Of what
        #[arg(value_enum)]
        of: schema::Of,
    },
    /// Measures and prints tables
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Finds numbers that the product rests on, from recorded networks
    Fit {
        #[command(subcommand)]
        fit: fit::Fit,
    },
    /// Stands in front of servers and breaks their connections, as Toxiproxy's clients tell it to
    Relay(relay_command::Arguments),
    /// Is a process of a run
    #[command(hide = true)]
    Stage {
        #[command(subcommand)]
        process: stage::Process,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Rules that choose rungs, over one set of recorded networks
    Abr(Box<abr::Arguments>),
    /// How edges are chosen, left and come back to, in worlds that chance drew and broke
    Edges(edges::Arguments),
    /// What one decision of each rule costs
    Decide(decide::Arguments),
    /// What the packet link makes of its configuration, in real time
    Packet(packet::BenchArguments),
    /// What passes a relay that breaks nothing, and how much later
    Relay(relay_bench::Arguments),
    /// The public sets of recorded networks, each with all rules
    Sets(sets::Arguments),
}

fn main() -> ExitCode {
    let done = match &Arguments::parse().command {
        Command::Run(arguments) => run::execute(arguments),
        Command::Mutants(arguments) => mutants::execute(arguments),
        Command::Packet(arguments) => packet::execute(arguments),
        Command::Agree(arguments) => run::agree(arguments),
        Command::Report(arguments) => report::execute(arguments),
        Command::Figures => schema::figures(&mut write::printed()),
        Command::Schema { of } => schema::print(&mut write::printed(), *of),
        Command::Bench { bench } => match bench {
            Bench::Abr(arguments) => abr::execute(arguments),
            Bench::Edges(arguments) => edges::execute(arguments),
            Bench::Decide(arguments) => decide::execute(arguments),
            Bench::Packet(arguments) => packet::bench(arguments),
            Bench::Relay(arguments) => relay_bench::execute(arguments),
            Bench::Sets(arguments) => sets::execute(arguments),
        },
        Command::Fit { fit } => fit::execute(fit),
        Command::Relay(arguments) => relay_command::execute(arguments),
        Command::Stage { process } => stage::execute(process),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Without standard error there is nobody to tell.
            let told = writeln!(std::io::stderr(), "nearcast-lab: {error:#}");
            if told.is_err() || error.is::<Mistake>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
