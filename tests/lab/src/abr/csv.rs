//! What each session of a measurement came to, as lines for other programs.

use nearcast_sim::trace::{Optimum, Played};

use super::measure::Bench;

/// Returns a line for each rule and trace.
pub(crate) fn text(bench: &Bench, played: &[Vec<Played>], optimum: Option<&[Optimum]>) -> String {
    let mut text = String::from(
        "alg,trace,qoe,qoe_per_segment,bitrate_kbps,stall_s,stalls,startup_s,change_mbps,switches,\
         play_time_s,abandoned,replaced,wasted_kbit,path\n",
    );
    let rules = bench.rules.iter().map(String::as_str).zip(played);
    let rules = rules.map(|(rule, sessions)| (rule, sessions.iter().collect::<Vec<_>>()));
    let optimum = optimum.map(|all| ("optimum", all.iter().map(|one| &one.played).collect()));
    for (rule, sessions) in rules.chain(optimum) {
        for (trace, played) in bench.set.traces.iter().zip(sessions) {
            let path: Vec<String> = played.rungs.iter().map(ToString::to_string).collect();
            text += &format!(
                "{rule},{},{:.6},{:.6},{:.3},{:.6},{},{:.6},{:.6},{},{:.6},{},{},{:.3},{}\n",
                trace.name.replace(',', "_"),
                played.qoe(bench.mu),
                played.qoe_per_segment(bench.mu),
                played.mean_kbps(),
                played.stall_ms / 1e3,
                played.stalls,
                played.startup_ms / 1e3,
                played.change_kbps() / 1e3,
                played.switches(),
                played.total_ms / 1e3,
                played.abandoned,
                played.replaced,
                played.wasted_bits / 1e3,
                path.join(" ")
            );
        }
    }
    text
}
