//! How fast sessions run in virtual time: the same core, no sockets, one thread.

use std::time::Duration;

use anyhow::{Result, ensure};
use nearcast_edge_server::fault::Fault;
use nearcast_sim::{Outcome, Setup, SimTitle, Simulation};
use nearcast_units::Seed;
use serde::Serialize;
use tokio::time::Instant;

use crate::statistics::{Sample, Spread};
use crate::table::{Table, number, verdict};

#[derive(Debug, Serialize)]
pub(crate) struct Simulator {
    sessions: usize,
    /// Virtual time of one session.
    session_s: f64,
    /// Wall time of one session.
    wall_s: Spread,
    sessions_per_s: f64,
    /// How many times faster than real time.
    factor: f64,
    log_lines: usize,
    holds: bool,
}

/// Design §6.
const FACTOR_MIN: f64 = 3_600.0;
const MEDIA: Duration = Duration::from_secs(120);

pub(crate) fn measure(span: Duration) -> Result<Simulator> {
    // The first run warms the allocator and does not count.
    let first = run()?;
    let mut walls = Vec::new();
    let began = Instant::now();
    while began.elapsed() < span {
        let session = Instant::now();
        run()?;
        walls.push(session.elapsed().as_secs_f64());
    }
    let session_s = first.ended_at.as_secs_f64();
    let sessions_per_s = walls.len() as f64 / began.elapsed().as_secs_f64();
    let factor = session_s * sessions_per_s;
    Ok(Simulator {
        sessions: walls.len(),
        session_s,
        wall_s: walls.into_iter().collect::<Sample>().spread(),
        sessions_per_s,
        factor,
        log_lines: first.log.len(),
        holds: factor >= FACTOR_MIN,
    })
}

/// Two minutes of media from ten edges, the one in use dies after 33 s.
fn run() -> Result<Outcome> {
    let title = SimTitle::made(MEDIA, Seed::new(7));
    let outcome = Simulation::new(Setup::quiet(title, 10).fault(33.0, 0, Some(Fault::Kill))).run();
    ensure!(
        outcome.over && outcome.violations.is_empty() && outcome.report.error.is_none(),
        "the simulated session went wrong: {:?} {:?}",
        outcome.violations,
        outcome.report.error
    );
    Ok(outcome)
}

impl Simulator {
    pub(crate) fn table(&self) -> Table {
        let title = format!(
            "Simulator: a two-minute session of ten edges with an edge death, one thread ({} sessions)",
            self.sessions
        );
        let mut table = Table::new(title, &["", "p50", "p95", "sessions/s", "times real time"]);
        let wall = |seconds: Option<f64>| number(seconds.map(|s| s * 1000.0), 2, " ms");
        table.row([
            "one session".to_owned(),
            wall(self.wall_s.p50),
            wall(self.wall_s.p95),
            number(Some(self.sessions_per_s), 1, ""),
            number(Some(self.factor), 0, ""),
        ]);
        table.remark(format!(
            "each writes its whole event log ({} lines) in memory, of {:.1} s of virtual time",
            self.log_lines, self.session_s
        ));
        let profile = if cfg!(debug_assertions) {
            " (this is a debug build)"
        } else {
            ""
        };
        table.remark(format!(
            "bar: at least 3,600 times real time: {}{profile}",
            verdict(self.holds)
        ));
        table
    }
}
