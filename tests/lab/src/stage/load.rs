//! How much edges sent when, from their access logs.

use std::time::Duration;

use nearcast_edge_server::{AccessEntry, EdgeHandle};

/// Counts what each edge sent in each second. What one answer had is spread over the time it took.
pub(super) fn load(edges: &[EdgeHandle], began_unix_ms: u64) -> Vec<Vec<u64>> {
    let logs: Vec<_> = edges.iter().map(EdgeHandle::access_log).collect();
    let span = |entry: &AccessEntry| {
        let from = entry.unix_ms.saturating_sub(began_unix_ms);
        let lasts = Duration::from_secs_f64(entry.duration_ms.max(0.0) / 1e3).as_millis();
        (from, from + u64::try_from(lasts).unwrap_or(0))
    };
    let ends = logs.iter().flatten().map(|entry| span(entry).1);
    let seconds = usize::try_from(ends.max().unwrap_or(0) / 1_000 + 1).unwrap_or(1);
    let of_edge = |log: &Vec<AccessEntry>| {
        let mut bytes = vec![0; seconds];
        for entry in log {
            let (from, to) = span(entry);
            let lasts = (to - from).max(1);
            let mut sent = 0;
            for second in from / 1_000..=to / 1_000 {
                let until = ((second + 1) * 1_000).min(to.max(from + 1));
                let by_then = entry.bytes * (until - from) / lasts;
                if let Some(bytes) = usize::try_from(second)
                    .ok()
                    .and_then(|at| bytes.get_mut(at))
                {
                    *bytes += by_then - sent;
                }
                sent = by_then;
            }
        }
        bytes
    };
    logs.iter().map(of_edge).collect()
}
