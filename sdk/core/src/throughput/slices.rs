//! Cuts what bodies bring into slices of time, each of which had a rate.

use alloc::collections::VecDeque;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

/// A slice shorter than this says more about scheduling than about the edge.
const SLICE_MIN: Duration = Duration::from_millis(80);
/// A burst that is over sooner counts from this size on (a few round trips of slow start), and as so long at least.
const BURST_MIN: ByteCount = ByteCount::new(48 << 10);
const BURST_COUNTS_MIN: Duration = Duration::from_millis(10);
/// No burst is quicker: two reports may come at one moment.
const BURST_TAKES_MIN: Duration = Duration::from_micros(100);
/// A body that comes is told of at least so often ([`TransportEvent::Progress`](crate::input::TransportEvent::Progress)), with all that
/// came since it was told of last. One that was not is silent, and holds nothing back.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// What came lately over a line.
///
/// Bodies that come at once are told of each at its own times: what all of them brought until now is known only when each was told of
/// again, and a slice ends there. One that ended later would lack what one of them brought in it, and the next would have that too much.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    /// Where the next slice begins; `None` while no body is under way.
    since: Option<Instant>,
    /// What came after that.
    came: VecDeque<Came>,
}

/// Between which times bytes came, and until when all of them are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// When their body was told of last, or its answer began.
    pub(crate) since: Instant,
    pub(crate) now: Instant,
    /// The oldest of the last reports of all bodies under way.
    pub(crate) all_until: Instant,
}

/// Bytes that came evenly over a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    from: Instant,
    pub(crate) to: Instant,
    bytes: ByteCount,
}

/// What a slice was like.
pub(super) type Slice = (BitRate, Duration);

impl Slices {
    /// So many bytes of a body came; returns a slice that is known by now.
    pub(super) fn came(&mut self, told: Told, bytes: ByteCount) -> Option<Slice> {
        let now = told.now;
        let Some(since) = self.since else {
            // The first bytes of a burst waited in buffers: their time is not known.
            self.since = Some(now);
            return None;
        };
        let from = told.since.max(since);
        match self.came.back_mut() {
            // Told in more pieces than time can tell apart.
            Some(last) if last.to == now && last.from >= from => last.bytes += bytes,
            _ => self.came.push_back(Came {
                from,
                to: now,
                bytes,
            }),
        }
        let known = told.known_until();
        let lasts = known.since(since);
        if lasts < SLICE_MIN {
            return None;
        }
        let all: ByteCount = self.came.iter_mut().map(|one| one.take_until(known)).sum();
        self.came.retain(|one| one.to > known);
        self.since = Some(known);
        Some((all.rate_over(lasts)?, lasts))
    }

    /// No body is under way any more; returns the last slice. Silence before the end is no rate: it is judged as silence.
    pub(super) fn end(&mut self) -> Option<Slice> {
        let since = self.since.take()?;
        let lasts = self.came.back()?.to.since(since);
        let all: ByteCount = self.came.drain(..).map(|one| one.bytes).sum();
        if lasts < SLICE_MIN && all < BURST_MIN {
            return None;
        }
        let rate = all.rate_over(lasts.max(BURST_TAKES_MIN))?;
        Some((rate, lasts.max(BURST_COUNTS_MIN)))
    }
}

impl Told {
    /// Until when all that came is known.
    pub(crate) fn known_until(self) -> Instant {
        self.all_until.clamp(self.now - TOLD_WITHIN, self.now)
    }
}

#[cfg(test)]
impl Told {
    /// Of one body that comes alone.
    pub(crate) const fn alone(since: Instant, now: Instant) -> Self {
        Self {
            since,
            now,
            all_until: now,
        }
    }
}

impl Came {
    /// All that a body brought since it was told of last.
    pub(crate) const fn of(told: Told, bytes: u64) -> Self {
        Self {
            from: told.since,
            to: told.now,
            bytes: ByteCount::new(bytes),
        }
    }

    /// Returns how much of it came until then.
    pub(crate) fn until(&self, until: Instant) -> ByteCount {
        if self.to <= until {
            return self.bytes;
        }
        let (all, past) = (self.to.since(self.from), until.since(self.from));
        let share = u128::from(self.bytes.get()) * past.as_nanos();
        let came = share.checked_div(all.as_nanos()).unwrap_or(0);
        ByteCount::new(u64::try_from(came).unwrap_or(u64::MAX))
    }

    /// Takes out what came until then.
    fn take_until(&mut self, until: Instant) -> ByteCount {
        let taken = self.until(until);
        self.bytes = self.bytes - taken;
        self.from = self.from.max(until);
        taken
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const fn ms(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000)
    }

    /// Slices of bodies of 8 kbit/s each, which come from then on, until then, and are told of so often.
    fn slices(bodies: &[(u64, u64, u64)]) -> Vec<(u64, u128)> {
        let mut slices = Slices::default();
        let told = bodies
            .iter()
            .enumerate()
            .flat_map(|(body, (from, to, every))| {
                let all = (0..).map(move |n| from + n * every);
                all.take_while(move |at| at <= to)
                    .map(move |at| (at, body, *every))
            });
        let mut told: Vec<(u64, usize, u64)> = told.collect();
        told.sort_unstable();
        let mut told_at = [None; 2];
        let mut found = Vec::new();
        for (at, body, every) in &told {
            let since = told_at[*body].replace(ms(*at)).unwrap_or(ms(*at));
            let under_way = told_at.iter().zip(bodies);
            let under_way = under_way.filter(|(_, (_, to, _))| at < to);
            let all_until = under_way.filter_map(|(told_at, _)| *told_at).min();
            let told = Told {
                since,
                now: ms(*at),
                all_until: all_until.unwrap_or(ms(*at)),
            };
            found.extend(slices.came(told, ByteCount::new(*every)));
        }
        found.extend(slices.end());
        let kbps = |(rate, lasts): (BitRate, Duration)| (rate.as_bps() / 1000, lasts.as_millis());
        found.into_iter().map(kbps).collect()
    }

    #[test]
    fn bodies_that_are_told_of_at_different_times_make_one_rate() {
        let alone = slices(&[(0, 1_000, 100)]);
        assert!(alone.iter().all(|(kbps, _)| *kbps == 8), "{alone:?}");
        let lasts: u128 = alone.iter().map(|(_, lasts)| lasts).sum();
        assert_eq!(lasts, 1_000, "nothing is left out");
        let both = slices(&[(0, 1_000, 100), (30, 990, 60)]);
        // The first report of the second one is of bytes whose time is not known.
        let rest = &both[1..];
        assert!(rest.len() > 5, "{both:?}");
        assert!(
            rest.iter().all(|(kbps, _)| (15..=17).contains(kbps)),
            "{both:?}"
        );
    }

    #[test]
    fn what_is_told_late_is_not_lost() {
        let mut slices = Slices::default();
        slices.came(Told::alone(ms(0), ms(0)), ByteCount::new(1));
        // Of another body nothing was told for long.
        let told = |since, now| Told {
            all_until: ms(0),
            ..Told::alone(ms(since), ms(now))
        };
        let one = slices.came(told(0, 200), ByteCount::new(200));
        let span = Duration::from_millis(100);
        assert_eq!(one, Some((BitRate::from_kbps(8), span)));
        let two = slices.came(told(50, 300), ByteCount::new(1_000));
        let bytes = 100 + 1_000 / 2;
        let rate = ByteCount::new(bytes).rate_over(span);
        assert_eq!(two.map(|(rate, _)| rate), rate);
    }

    #[test]
    fn silence_before_the_end_is_no_rate() {
        let mut slices = Slices::default();
        slices.came(Told::alone(ms(0), ms(0)), ByteCount::new(1));
        slices.came(Told::alone(ms(0), ms(60)), ByteCount::new(60_000));
        // It is ended a second later.
        let rate = BitRate::from_kbps(8_000);
        assert_eq!(slices.end(), Some((rate, Duration::from_millis(60))));
        slices.came(Told::alone(ms(0), ms(2_000)), ByteCount::new(1));
        assert_eq!(slices.end(), None, "only its first bytes came");
    }

    #[test]
    fn a_short_burst_counts_where_it_brought_enough() {
        let end = |bytes: u64, lasts_ms: u64| {
            let mut slices = Slices::default();
            slices.came(Told::alone(ms(0), ms(0)), ByteCount::new(1));
            slices.came(Told::alone(ms(0), ms(lasts_ms)), ByteCount::new(bytes));
            slices.end()
        };
        assert_eq!(end(40_000, 20), None);
        let rate = BitRate::from_kbps(24_000);
        assert_eq!(end(60_000, 20), Some((rate, Duration::from_millis(20))));
        let rate = BitRate::from_kbps(240_000);
        assert_eq!(end(60_000, 2), Some((rate, Duration::from_millis(10))));
    }
}
