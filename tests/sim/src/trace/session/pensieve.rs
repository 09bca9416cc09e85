//! A session as the simulator runs it that Pensieve was trained in.

use super::{Playback, Played, Profile, STUCK_MS, SessionError, Setup, checked};
use crate::trace::{Cursor, Delivered, Progress, Rule, Slice, Step, Verdict};

/// What of the recorded rate is payload.
pub const PENSIEVE_RATE: f64 = 0.95;
/// What each request takes before its first bit; the network's own time stands still meanwhile.
pub const PENSIEVE_RTT_MS: f64 = 80.0;
/// The first segment's rung.
const FIRST: usize = 1;
/// A full buffer is looked at again after so long.
const SLEEP_MS: f64 = 500.0;

pub(super) fn run<R: Rule + ?Sized>(
    setup: &Setup<'_>,
    rule: &mut R,
) -> Result<Played, SessionError> {
    if setup.movie.rungs() <= FIRST {
        let needs = "a ladder of at least two rungs: the first segment has the second one";
        return Err(SessionError::Movie { needs });
    }
    let mut cursor = Cursor::new(setup.network, PENSIEVE_RATE);
    let mut playback = Playback::new(setup);
    let mut slices = Vec::new();
    let mut now_ms = 0.0;
    while playback.len() < setup.segments {
        let segment = playback.len();
        let rung = if segment == 0 {
            FIRST
        } else {
            let view = playback.view(setup, now_ms, 0.0);
            match rule.next(&view) {
                Step::Next { rung, wait_ms } => {
                    checked(setup, segment, rung, wait_ms)?;
                    cursor.wait(wait_ms);
                    playback.pass(wait_ms);
                    now_ms += wait_ms;
                    rung
                }
                Step::Replace { segment, .. } => {
                    return Err(SessionError::Replacement { segment });
                }
            }
        };
        let size_bits = setup.movie.sizes_bits(segment)[rung];
        let transfer_ms = transfer(&mut cursor, size_bits, rule, &mut slices);
        let took_ms = transfer_ms + PENSIEVE_RTT_MS;
        if took_ms > STUCK_MS {
            return Err(SessionError::Stuck { segment });
        }
        if segment == 0 {
            playback.startup_ms = took_ms;
        } else {
            playback.pass(took_ms);
        }
        now_ms += took_ms;
        playback.push(rung);
        let view = playback.view(setup, now_ms, 0.0);
        let transfer = Progress {
            segment,
            rung,
            replaces: false,
            size_bits,
            got_bits: size_bits,
            latency_ms: PENSIEVE_RTT_MS,
            transfer_ms,
            slices: &slices,
        };
        let verdict = Verdict::Continue;
        rule.delivered(&view, &Delivered { transfer, verdict });
        let excess_ms = playback.buffer_ms() - setup.cap_ms;
        if excess_ms > 0.0 {
            let sleep_ms = (excess_ms / SLEEP_MS).ceil() * SLEEP_MS;
            cursor.wait(sleep_ms);
            playback.pass(sleep_ms);
            now_ms += sleep_ms;
            rule.waited(&playback.view(setup, now_ms, 0.0), sleep_ms);
        }
    }
    Ok(playback.end(setup, Profile::Pensieve))
}

/// Transfers a segment, in slices where the rule wants them, and returns how long it took.
fn transfer<R: Rule + ?Sized>(
    cursor: &mut Cursor<'_>,
    size_bits: f64,
    rule: &R,
    slices: &mut Vec<Slice>,
) -> f64 {
    slices.clear();
    let Some(pace) = rule.pace() else {
        return cursor.transfer_whole(size_bits);
    };
    let mut got_bits = 0.0;
    let mut took_ms = 0.0;
    let mut least_ms = pace.ms - PENSIEVE_RTT_MS;
    while got_bits < size_bits && took_ms <= STUCK_MS {
        let rest = size_bits - got_bits;
        let share = cursor.transfer(rest, pace.bits, least_ms);
        took_ms += share.ms;
        got_bits = if share.bits >= rest {
            size_bits
        } else {
            got_bits + share.bits
        };
        slices.push(Slice {
            ms: share.ms,
            bits: share.bits,
        });
        least_ms = pace.ms;
    }
    took_ms
}
