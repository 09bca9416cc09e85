//! Every limit and span of the model, with the reason beside it.

use core::time::Duration;

use crate::rate::PlayRate;

/// Limits and spans of a [`Backend`](crate::Backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// How long an access token is good: a viewing day, so that nobody signs in twice in an evening.
    pub session_ttl: Duration,
    /// How long an edge token is good: a client that lost the backend plays on this long.
    pub token_ttl: Duration,
    /// When a client is to refresh. Well below `token_ttl`, so that several attempts fit in between.
    pub refresh_after: Duration,
    /// How long a stream counts after the last sign of life. Above `refresh_after`, so that a client that
    /// plays never loses its slot, and one that crashed does not block the account for long.
    pub slot_ttl: Duration,
    /// How long a playback that shows no sign of life can still be refreshed: a viewer's long pause.
    pub playback_ttl: Duration,
    /// A report older than this makes an appliance unusable: three reports missed.
    pub report_ttl: Duration,
    /// How often appliances are asked to report.
    pub report_interval: Duration,
    /// How long a ranking holds, as said to other players.
    pub steering_ttl: Duration,
    /// How many play requests are let through; `None` is no limit.
    pub play_rate: Option<PlayRate>,
    /// Sessions kept; the one that ends first goes. 10,000 are some megabytes.
    pub sessions_max: usize,
    /// Playbacks kept; the one that was silent longest goes.
    pub playbacks_max: usize,
    /// Viewing positions kept for each account; the oldest goes.
    pub history_max: usize,
    /// Appliances known; further ones are refused until one has not reported for long.
    pub appliances_max: usize,
    /// Prefixes and file prefixes an appliance may report; a ranking looks at each of them.
    pub report_entries_max: usize,
    /// An appliance that can give less than this has no room for one more stream: about the top rung.
    pub free_capacity_bps_min: u64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(24 * 3600),
            token_ttl: Duration::from_secs(300),
            refresh_after: Duration::from_secs(120),
            slot_ttl: Duration::from_secs(180),
            playback_ttl: Duration::from_secs(12 * 3600),
            report_ttl: Duration::from_secs(15),
            report_interval: Duration::from_secs(5),
            steering_ttl: Duration::from_secs(10),
            play_rate: None,
            sessions_max: 10_000,
            playbacks_max: 10_000,
            history_max: 500,
            appliances_max: 1000,
            report_entries_max: 1000,
            free_capacity_bps_min: 8_000_000,
        }
    }
}
