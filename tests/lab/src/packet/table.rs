//! What links passed and dropped, for people.

use nearcast_link::PacketCounters;

use super::forward::Counted;
use super::links::{Both, server_address};

const COLUMNS: [&str; 9] = [
    "link",
    "",
    "passed",
    "bytes",
    "lost",
    "queue full",
    "too large",
    "duplicated",
    "reordered",
];

/// Returns a line for each link and direction, and what else became of packets if there was anything.
pub(super) fn text(counted: &Counted, overflowed: u64) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(pair("last mile", &counted.links.last_mile));
    for (server, both) in counted.links.servers.iter().enumerate() {
        rows.extend(pair(&server_address(server).to_string(), both));
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            if column < 2 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text += "\n";
    }
    for (count, what) in [
        (counted.strays, "packets went to no server"),
        (
            counted.refused,
            "packets crossed the links, and the system had no room for them",
        ),
        (
            overflowed,
            "packets were more at once than the system keeps before a link takes them",
        ),
    ] {
        if count > 0 {
            text += &format!("{count} {what}\n");
        }
    }
    text
}

fn pair(name: &str, both: &Both<PacketCounters>) -> [[String; 9]; 2] {
    let row = |name: &str, direction: &str, counters: &PacketCounters| {
        [
            name.to_owned(),
            direction.to_owned(),
            counters.passed.to_string(),
            counters.passed_bytes.get().to_string(),
            counters.lost.to_string(),
            counters.queue_full.to_string(),
            counters.too_large.to_string(),
            counters.duplicated.to_string(),
            counters.reordered.to_string(),
        ]
    };
    [row(name, "up", &both.up), row("", "down", &both.down)]
}
