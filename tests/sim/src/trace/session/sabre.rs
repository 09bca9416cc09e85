//! A session as the simulator Sabre runs it.

use super::{
    Playback, Played, Profile, STUCK_MS, SessionError, Setup, TRANSFERS_PER_SEGMENT, checked,
};
use crate::trace::{Cursor, Delivered, Progress, Rule, Slice, Step, Verdict};

/// One transfer to make.
struct Fetch {
    segment: usize,
    rung: usize,
}

struct Session<'a, 'b, R: ?Sized> {
    setup: &'a Setup<'a>,
    rule: &'b mut R,
    cursor: Cursor<'a>,
    playback: Playback,
    slices: Vec<Slice>,
}

pub(super) fn run<R: Rule + ?Sized>(
    setup: &Setup<'_>,
    rule: &mut R,
) -> Result<Played, SessionError> {
    let mut session = Session {
        setup,
        rule,
        cursor: Cursor::new(setup.network, 1.0),
        playback: Playback::new(setup),
        slices: Vec::new(),
    };
    session.start()?;
    let segment_ms = setup.movie.segment_ms();
    let transfers_max = setup.segments.saturating_mul(TRANSFERS_PER_SEGMENT);
    let mut transfers = 0;
    while session.playback.len() < setup.segments {
        let segment = session.playback.len();
        transfers += 1;
        if transfers > transfers_max {
            return Err(SessionError::Replacement { segment });
        }
        let wait_ms = session.playback.buffer_ms() + segment_ms - setup.cap_ms;
        if wait_ms > 0.0 {
            let view = session.playback.view(setup, session.cursor.now_ms(), 0.0);
            if let Some((segment, rung)) = session.rule.idle(&view, wait_ms) {
                session.replace(segment, rung)?;
                continue;
            }
            session.wait(wait_ms);
            let view = session.playback.view(setup, session.cursor.now_ms(), 0.0);
            session.rule.waited(&view, wait_ms);
        }
        let view = session.playback.view(setup, session.cursor.now_ms(), 0.0);
        match session.rule.next(&view) {
            Step::Next { rung, wait_ms } => {
                checked(setup, segment, rung, wait_ms)?;
                session.wait(wait_ms);
                session.transfer(&Fetch { segment, rung })?;
            }
            Step::Replace { segment, rung } => session.replace(segment, rung)?,
        }
    }
    Ok(session.playback.end(setup, Profile::Sabre))
}

impl<R: Rule + ?Sized> Session<'_, '_, R> {
    /// Fetches the first segment; playback begins when it is there.
    fn start(&mut self) -> Result<(), SessionError> {
        let view = self.playback.view(self.setup, 0.0, 0.0);
        let rung = self.rule.first(&view);
        checked(self.setup, 0, rung, 0.0)?;
        self.transfer(&Fetch { segment: 0, rung })
    }

    fn wait(&mut self, ms: f64) {
        self.playback.pass(ms);
        self.cursor.wait(ms);
    }

    fn replace(&mut self, segment: usize, rung: usize) -> Result<(), SessionError> {
        checked(self.setup, segment, rung, 0.0)?;
        if self.playback.replaceable(segment).is_none() {
            return Err(SessionError::Replacement { segment });
        }
        self.transfer(&Fetch { segment, rung })
    }

    fn transfer(&mut self, fetch: &Fetch) -> Result<(), SessionError> {
        let Fetch { segment, rung } = *fetch;
        let setup = self.setup;
        let next = self.playback.len();
        // The very first one plays nothing meanwhile, and is not given up: there is no other.
        let starts = next == 0;
        let size_bits = setup.movie.sizes_bits(segment)[rung];
        let began_ms = self.cursor.now_ms();
        let latency_ms = self.cursor.latency();
        let mut progress = Progress {
            segment,
            rung,
            replaces: segment < next,
            size_bits,
            got_bits: 0.0,
            latency_ms,
            transfer_ms: 0.0,
            slices: &[],
        };
        self.slices.clear();
        let mut verdict = Verdict::Continue;
        if let Some(pace) = self.rule.pace() {
            let mut least_ms = pace.ms - latency_ms;
            while progress.got_bits < size_bits {
                let rest = size_bits - progress.got_bits;
                let share = self.cursor.transfer(rest, pace.bits, least_ms);
                progress.transfer_ms += share.ms;
                progress.got_bits = if share.bits >= rest {
                    size_bits
                } else {
                    progress.got_bits + share.bits
                };
                self.slices.push(Slice {
                    ms: share.ms,
                    bits: share.bits,
                });
                least_ms = pace.ms;
                let took_ms = latency_ms + progress.transfer_ms;
                if took_ms > STUCK_MS {
                    return Err(SessionError::Stuck { segment });
                }
                if progress.got_bits < size_bits && !starts {
                    let view = self.playback.view(setup, began_ms, took_ms);
                    let slices = &self.slices;
                    verdict = self.rule.progress(&view, &Progress { slices, ..progress });
                    if verdict != Verdict::Continue {
                        break;
                    }
                }
            }
        } else {
            progress.transfer_ms = self.cursor.transfer_whole(size_bits);
            progress.got_bits = size_bits;
        }
        let took_ms = latency_ms + progress.transfer_ms;
        if took_ms > STUCK_MS {
            return Err(SessionError::Stuck { segment });
        }
        if starts {
            self.playback.startup_ms = took_ms;
        } else {
            self.playback.pass(took_ms);
        }
        self.keep(&progress, verdict);
        let view = self.playback.view(setup, self.cursor.now_ms(), 0.0);
        let delivered = Delivered {
            transfer: Progress {
                slices: &self.slices,
                ..progress
            },
            verdict,
        };
        self.rule.delivered(&view, &delivered);
        Ok(())
    }

    /// Puts what came into the buffer.
    fn keep(&mut self, progress: &Progress<'_>, verdict: Verdict) {
        let &Progress {
            segment,
            rung,
            replaces,
            ..
        } = progress;
        if verdict != Verdict::Continue {
            self.playback.abandoned += 1;
            self.playback.wasted_bits += progress.got_bits;
        } else if !replaces {
            self.playback.push(rung);
        } else if let Some(before) = self.playback.replaceable(segment) {
            self.playback.wasted_bits += self.setup.movie.sizes_bits(segment)[before];
            self.playback.replace(segment, rung);
        } else {
            self.playback.wasted_bits += progress.got_bits;
        }
    }
}
