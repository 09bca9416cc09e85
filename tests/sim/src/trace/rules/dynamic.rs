//! DYNAMIC (Spiteri, Sitaraman, Sparacio, `MMSys` 2018): the throughput rule while the buffer is short, BOLA else.
//! Both are asked at every step, so that both go on learning; transfers are given up by the throughput rule alone.

use super::bola::Bola;
use super::estimate::Estimate;
use super::sabre::Policy;
use super::throughput::Throughput;
use crate::trace::{Delivered, Progress, Setup, View};

pub(super) struct Dynamic {
    bola: Bola,
    throughput: Throughput,
    by_bola: bool,
}

const SHORT_MS: f64 = 10_000.0;

impl Dynamic {
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        Self {
            bola: Bola::finite(setup),
            throughput: Throughput::new(),
            by_bola: false,
        }
    }
}

impl Policy for Dynamic {
    const GIVES_UP: bool = true;

    fn choose(&mut self, view: &View<'_>, estimate: &Estimate) -> (usize, f64) {
        let bola = self.bola.choose(view, estimate);
        let throughput = self.throughput.choose(view, estimate);
        if self.by_bola {
            if view.buffer_ms < SHORT_MS && bola.0 < throughput.0 {
                self.by_bola = false;
            }
        } else if view.buffer_ms > SHORT_MS && bola.0 >= throughput.0 {
            self.by_bola = true;
        }
        if self.by_bola { bola } else { throughput }
    }

    fn instead(
        &mut self,
        view: &View<'_>,
        progress: &Progress<'_>,
        estimate: &Estimate,
    ) -> Option<usize> {
        self.throughput.instead(view, progress, estimate)
    }

    fn delivered(&mut self, view: &View<'_>, delivered: &Delivered<'_>) {
        self.bola.delivered(view, delivered);
        self.throughput.delivered(view, delivered);
        // Replacement drains the buffer that BOLA goes by.
        self.by_bola &= !delivered.transfer.replaces;
    }

    fn waited(&mut self, ms: f64) {
        self.bola.waited(ms);
        self.throughput.waited(ms);
    }
}
