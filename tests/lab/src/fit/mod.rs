//! `fit`: finds the numbers in `nearcast-core` that nobody could choose by hand, from recorded networks. What is
//! learned from and how it is judged is told here; what comes out is pasted into the product by whoever believes it.

mod forecast;
mod horizon;
mod learn;
mod residual;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Fit {
    /// The network that forecasts rates: writes the table of its weights
    ///
    /// A simple rule plays over ten public sets of recorded networks. At each of its decisions the signs that
    /// `RateEstimate` tells of the line are noted, and the mean rates that it then has over the next 3, 9, 20 and 45 s.
    /// From these a perceptron of two hidden layers learns their quantiles, by Adam with the pinball loss. Three of
    /// four networks of each set are learned from; on the fourth the loss says what the rest is worth. It is
    /// compared with an average over 8 s and the quantiles of its error, and with the network that the product has.
    ///
    /// The table is sdk/core/src/throughput/weights.rs; the same seed gives the same table.
    #[command(verbatim_doc_comment)]
    Forecast(forecast::Arguments),
    /// The numbers that the rule `horizon` plans with
    ///
    /// Evolution (CMA-ES) over all numbers of `HorizonConfig`. Each generation plays the public sets of profile
    /// pensieve: a random half of three of four networks, from random places of theirs. A configuration is as good as
    /// it gains in QoE over the first one on the same networks, session by session and clipped, so that no session and
    /// no set decides alone. Every few generations QoE is told of those networks, and of the fourth ones.
    ///
    /// Plans are corrected as the product's own are; `fit residual` is to follow.
    ///
    /// The best of these goes to a file for `bench abr --horizon`, and as text for
    /// sdk/core/src/abr/horizon/config.rs to standard output.
    #[command(verbatim_doc_comment)]
    Horizon(horizon::Arguments),
    /// The network that corrects the scores of `horizon`'s plans: writes the table of its weights
    ///
    /// In each round networks of all public sets are played, three of four of each set, most from random places of theirs, each some
    /// times. At every decision rungs near the planned one are tried, the likelier the better they are held to be. Afterwards it
    /// is known what each choice lost against who knows the whole network; a second network learns what is usually lost from
    /// such a decision on. Choices after which less was lost become likelier (proximal policy optimization), by Adam. Every
    /// few rounds QoE is told of those networks and of the fourth ones, as planned and corrected.
    ///
    /// The table is sdk/core/src/abr/horizon/residual_weights.rs; the same seed gives the same table.
    #[command(verbatim_doc_comment)]
    Residual(residual::Arguments),
}

pub(crate) fn execute(fit: &Fit) -> Result<ExitCode> {
    match fit {
        Fit::Forecast(arguments) => forecast::execute(arguments),
        Fit::Horizon(arguments) => horizon::execute(arguments),
        Fit::Residual(arguments) => residual::execute(arguments),
    }
}

/// Whether a network, by its number in name order, is kept from what is learned, to judge it.
fn validates(trace: usize) -> bool {
    trace % 4 == 3
}
