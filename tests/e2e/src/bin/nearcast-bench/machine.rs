//! What the figures were measured on, and whether somebody else was at work there.

use std::time::Duration;

use serde::Serialize;

/// A machine at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    /// Processors that this process may use.
    pub(crate) cores: usize,
    /// Share of all processors' time that was not idle while the benchmark itself did nothing; `None` where
    /// the system does not say.
    pub(crate) busy_share: Option<f64>,
    /// Mean length of the run queue over the last minute, the build before it included.
    pub(crate) load_1min: Option<f64>,
}

/// Above this, others take enough time to be seen in the figures.
const BUSY: f64 = 0.2;
/// Long enough for a hundred ticks of each processor.
const LOOK: Duration = Duration::from_secs(1);

impl Load {
    /// Looks for a second while nothing of ours runs.
    pub(crate) async fn look() -> Self {
        let before = ticks();
        tokio::time::sleep(LOOK).await;
        let busy_share = before.zip(ticks()).and_then(|(before, after)| {
            let all = after.all.checked_sub(before.all).filter(|all| *all > 0)?;
            let idle = after.idle.saturating_sub(before.idle);
            Some(1.0 - (idle as f64 / all as f64).min(1.0))
        });
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            busy_share,
            load_1min: load(),
        }
    }

    pub(crate) fn is_busy(self) -> bool {
        self.busy_share.is_some_and(|share| share > BUSY)
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let busy = self.busy_share.map_or_else(
            || "unknown".to_owned(),
            |share| format!("{:.0} %", share * 100.0),
        );
        let load = self
            .load_1min
            .map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
        write!(
            f,
            "{} cores, {busy} used by others, load of the last minute {load}",
            self.cores
        )?;
        if self.is_busy() {
            write!(f, "  ** BUSY: timings are worse than they need be **")?;
        }
        Ok(())
    }
}

struct Ticks {
    all: u64,
    idle: u64,
}

fn ticks() -> Option<Ticks> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guests are in the first two already.
    let all = numbers.iter().take(8).sum();
    let idle = numbers.iter().skip(3).take(2).sum();
    Some(Ticks { all, idle })
}

fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
