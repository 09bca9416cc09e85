//! Events as they are kept: batches in the order they came, the oldest gone once there are too many, and what is left
//! of each playback counted.

use nearcast_protocol::telemetry::{EventBatch, EventCount};
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};
use tokio::sync::OwnedSemaphorePermit;

use super::{Failed, failed};

/// Batches of events, JSON by playback and sequence number.
const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
/// The order in which batches came, so that the oldest can go.
const ARRIVALS: TableDefinition<'_, u64, (&str, u64)> = TableDefinition::new("arrivals");
/// Bytes of all batches, under the empty name.
const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");
/// Batches, events and dropped events by playback.
const COUNTS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("counts");

/// A batch of events on its way to the store.
pub(super) struct Batch {
    pub(super) playback_id: String,
    pub(super) sequence: u64,
    pub(super) events: u64,
    pub(super) dropped: u64,
    pub(super) json: Vec<u8>,
    /// The place it takes while it waits.
    pub(super) _room: OwnedSemaphorePermit,
}

/// How much of events is kept; the oldest go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

/// Days of some hundred viewers.
pub(super) const BOUNDS: Bounds = Bounds {
    batches: 100_000,
    bytes: 256 << 20,
};

/// Makes the tables that are missing.
pub(super) fn make_tables(write: &WriteTransaction) -> Result<(), Failed> {
    write.open_table(EVENTS).map_err(failed)?;
    write.open_table(ARRIVALS).map_err(failed)?;
    write.open_table(COUNTS).map_err(failed)?;
    write.open_table(SIZES).map_err(failed)?;
    Ok(())
}

/// Writes a batch, and lets the oldest go that have no room beside it.
pub(super) fn write(write: &WriteTransaction, batch: &Batch, bounds: Bounds) -> Result<(), Failed> {
    let mut events = write.open_table(EVENTS).map_err(failed)?;
    let mut arrivals = write.open_table(ARRIVALS).map_err(failed)?;
    let mut counts = write.open_table(COUNTS).map_err(failed)?;
    let mut sizes = write.open_table(SIZES).map_err(failed)?;
    let key = (batch.playback_id.as_str(), batch.sequence);
    // A batch whose answer was lost is sent again.
    if events.get(key).map_err(failed)?.is_some() {
        return Ok(());
    }
    events.insert(key, batch.json.as_slice()).map_err(failed)?;
    let stored = sizes
        .get(ALL)
        .map_err(failed)?
        .map_or(0, |size| size.value());
    let mut stored = stored.saturating_add(length(&batch.json));
    let arrival = match arrivals.last().map_err(failed)? {
        Some((last, _)) => last.value() + 1,
        None => 0,
    };
    arrivals.insert(arrival, key).map_err(failed)?;
    let (batches, seen, dropped) = count_of(&counts, key.0)?;
    let sum = (
        batches + 1,
        seen.saturating_add(batch.events),
        dropped.saturating_add(batch.dropped),
    );
    counts.insert(key.0, sum).map_err(failed)?;

    while arrivals.len().map_err(failed)? > bounds.batches || stored > bounds.bytes {
        let oldest = match arrivals.pop_first().map_err(failed)? {
            Some((_, oldest)) => {
                let (playback_id, sequence) = oldest.value();
                (playback_id.to_owned(), sequence)
            }
            None => break,
        };
        let (id, sequence) = (oldest.0.as_str(), oldest.1);
        let removed = events.remove((id, sequence)).map_err(failed)?;
        let removed = removed
            .map(|json| json.value().to_vec())
            .unwrap_or_default();
        stored = stored.saturating_sub(length(&removed));
        let removed: Option<EventBatch> = serde_json::from_slice(&removed).ok();
        let (batches, seen, dropped) = count_of(&counts, id)?;
        if batches <= 1 {
            counts.remove(id).map_err(failed)?;
        } else if let Some(removed) = removed {
            let fewer = u64::try_from(removed.events.len()).unwrap_or(u64::MAX);
            let rest = (
                batches - 1,
                seen.saturating_sub(fewer),
                dropped.saturating_sub(removed.dropped),
            );
            counts.insert(id, rest).map_err(failed)?;
        }
    }
    sizes.insert(ALL, stored).map_err(failed)?;
    Ok(())
}

/// The name of the one entry in [`SIZES`].
const ALL: &str = "";

fn length(json: &[u8]) -> u64 {
    u64::try_from(json.len()).unwrap_or(u64::MAX)
}

/// Counts what is kept of a playback.
pub(super) fn count(write: &WriteTransaction, playback_id: &str) -> Result<EventCount, Failed> {
    let counts = write.open_table(COUNTS).map_err(failed)?;
    let (batches, events, dropped) = count_of(&counts, playback_id)?;
    Ok(EventCount {
        batches,
        events,
        dropped,
    })
}

fn count_of(
    counts: &redb::Table<'_, &'static str, (u64, u64, u64)>,
    playback_id: &str,
) -> Result<(u64, u64, u64), Failed> {
    let count = counts.get(playback_id).map_err(failed)?;
    Ok(count.map_or((0, 0, 0), |count| count.value()))
}
