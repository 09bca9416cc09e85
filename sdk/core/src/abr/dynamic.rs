//! DYNAMIC (Spiteri, Sitaraman and Sparacio, "From theory to practice", MMSys 2018): the rate decides while the buffer
//! is short, BOLA when it is long.

use core::time::Duration;

use super::{AbrChoice, AbrContext, AbrPolicy, bola, throughput};

/// What the paper calls a long buffer.
const LONG_BUFFER: Duration = Duration::from_secs(10);

/// The rule, with which of the two decides now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dynamic {
    long: bool,
}

impl AbrPolicy for Dynamic {
    fn name(&self) -> &'static str {
        "dynamic"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        if let Some(first) = throughput::first(context) {
            return first;
        }
        let by_rate = throughput::sustained(context);
        let wanted = bola::best(context);
        // Over to BOLA when the buffer is long and BOLA asks for no less; back when it is short and BOLA asks for less.
        self.long = if self.long {
            context.buffer >= LONG_BUFFER || wanted >= by_rate
        } else {
            context.buffer >= LONG_BUFFER && wanted >= by_rate
        };
        if !self.long {
            return AbrChoice::next(by_rate, "highest rung the rate sustains");
        }
        // BOLA-O: up no further than the rate sustains or the rung before, lest it swing.
        match context.last {
            Some(last) if wanted > last && wanted > by_rate => AbrChoice::next(
                by_rate.max(last),
                "long buffer, but the rate sustains no more",
            ),
            Some(_) | None => AbrChoice::next(wanted, "long buffer: best utility for this level"),
        }
    }
}
