//! All toxics of one direction of one connection, one behind the other. Sans-IO.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use nearcast_units::{Instant, Seed};

use super::control::Control;
use super::receipt::Direction;
use super::toxic::{Effect, Ending, Item, Lane, Rest, Stage, Toxic};

/// Toxics, and what has come through all of them.
///
/// One `handle` or `set`, then `poll` until `None`, then wait until `next_deadline`.
pub(super) struct Chain {
    direction: Direction,
    seed: Seed,
    links: Vec<Link>,
    /// What has come through and waits to be taken: one, or all that was held where a toxic was taken away.
    outlet: VecDeque<Item>,
    ending: Option<Ending>,
    effects: VecDeque<Told>,
}

struct Link {
    name: Arc<str>,
    /// What it is, whatever its numbers.
    identity: (u64, &'static str),
    stage: Box<dyn Stage>,
}

/// A toxic that is to work here.
struct Wanted {
    name: Arc<str>,
    id: u64,
    toxic: Toxic,
    /// What it shares with other connections.
    lane: Option<Lane>,
}

impl Wanted {
    const fn identity(&self) -> (u64, &'static str) {
        (self.id, self.toxic.kind())
    }
}

/// What a toxic did, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) toxic: Arc<str>,
    pub(super) effect: Effect,
}

/// The line itself stands before all toxics, whose numbers begin behind its own.
const LINE: u64 = 0;

impl Chain {
    /// Makes a chain that does nothing yet; what chance does in it depends on the seed alone.
    pub(super) const fn new(direction: Direction, seed: Seed) -> Self {
        Self {
            direction,
            seed,
            links: Vec::new(),
            outlet: VecDeque::new(),
            ending: None,
            effects: VecDeque::new(),
        }
    }

    /// Makes it what is asked for: toxics that stay keep what they hold, what others held goes on.
    pub(super) fn set(&mut self, now: Instant, control: &Control) {
        let wanted = self.wanted(control);
        let mut old = std::mem::take(&mut self.links);
        // From the end, so that what one held meets those behind it that stay.
        let mut kept: Vec<Option<Link>> = wanted.iter().map(|_| None).collect();
        let mut before = wanted.len();
        while let Some(mut link) = old.pop() {
            let is_it = |wanted: &Wanted| wanted.identity() == link.identity;
            // One that is to stand behind another now would hand on what it holds out of order.
            let place = wanted.iter().take(before).position(is_it);
            if let Some(place) = place {
                link.stage.set(now, &wanted[place].toxic);
                kept[place] = Some(link);
                before = place;
                continue;
            }
            match link.stage.into_rest() {
                Rest::Ending(ending) => {
                    self.ending.get_or_insert(ending);
                }
                Rest::Items(items) => self.spill(now, &mut kept, items),
            }
        }
        let chances = self.seed.split("toxics");
        let begin = |wanted: Wanted| Link {
            identity: wanted.identity(),
            stage: match (&wanted.toxic, wanted.lane) {
                (Toxic::Bandwidth(bandwidth), Some(lane)) => Box::new(bandwidth.stage(lane)),
                (toxic, _) => toxic.stage(now, chances.split_index(wanted.id).rng()),
            },
            name: wanted.name,
        };
        let links = wanted.into_iter().zip(kept);
        self.links = links
            .map(|(wanted, kept)| kept.unwrap_or_else(|| begin(wanted)))
            .collect();
        self.advance(now);
    }

    /// Hands on what a toxic held that is no more: to the next one that stays, or out.
    fn spill(&mut self, now: Instant, kept: &mut [Option<Link>], items: Vec<Item>) {
        match kept.iter_mut().flatten().next() {
            Some(next) => {
                let mut effects = Vec::new();
                for item in items {
                    next.stage.handle(now, item, &mut effects);
                }
                tell(&mut self.effects, &next.name, effects);
            }
            None => self.outlet.extend(items),
        }
    }

    /// Returns what is to work on this connection, in order.
    fn wanted(&self, control: &Control) -> Vec<Wanted> {
        let way = control.way(self.direction);
        let line = |toxic, lane| Wanted {
            name: Arc::from("line"),
            id: LINE,
            toxic,
            lane,
        };
        let rate = way.streams.bandwidth().map(Toxic::Bandwidth);
        let rate = rate.map(|rate| line(rate, Some(way.lane.clone())));
        let delay = way.streams.latency().map(Toxic::Latency);
        let delay = delay.map(|delay| line(delay, None));
        let chances = self.seed.split("toxicity");
        let placed = control.toxics.iter().filter(|placed| {
            let drawn = chances.split_index(placed.id).rng().next_f64();
            placed.direction == self.direction && drawn < placed.toxicity.get()
        });
        let placed = placed.map(|placed| Wanted {
            name: Arc::clone(&placed.name),
            id: placed.id,
            toxic: placed.toxic,
            lane: None,
        });
        rate.into_iter().chain(delay).chain(placed).collect()
    }

    /// Whether more may be handed to it.
    pub(super) fn has_room(&self) -> bool {
        self.outlet.len() <= 1 && self.has_room_at(0)
    }

    /// Takes what the sender has sent.
    pub(super) fn handle(&mut self, now: Instant, item: Item) {
        self.put(now, 0, item);
        self.advance(now);
    }

    /// Returns what is to be handed to the receiver; call until `None`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Item> {
        self.advance(now);
        let item = self.outlet.pop_front();
        self.advance(now);
        item
    }

    /// Returns how the connection ends now, whatever is still under way.
    pub(super) fn poll_ending(&mut self, now: Instant) -> Option<Ending> {
        let due = |link: &Link| link.stage.ends_at().filter(|(due, _)| *due <= now);
        let ended = self.links.iter().find_map(due).map(|(_, ending)| ending);
        self.ending.take().or(ended)
    }

    /// Returns what toxics did; call until `None`.
    pub(super) fn poll_effect(&mut self) -> Option<Told> {
        self.effects.pop_front()
    }

    /// Returns when something will be there if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ends = self
            .links
            .iter()
            .filter_map(|link| Some(link.stage.ends_at()?.0));
        let moves = self.links.iter().enumerate().filter_map(|(place, link)| {
            // What the next one has no room for waits for that, not for the time.
            self.has_room_at(place + 1)
                .then(|| link.stage.next_deadline())?
        });
        ends.chain(moves).min()
    }

    fn has_room_at(&self, place: usize) -> bool {
        match self.links.get(place) {
            Some(link) => link.stage.has_room(),
            None => self.outlet.is_empty(),
        }
    }

    fn put(&mut self, now: Instant, place: usize, item: Item) {
        match self.links.get_mut(place) {
            Some(link) => {
                let mut effects = Vec::new();
                link.stage.handle(now, item, &mut effects);
                tell(&mut self.effects, &link.name, effects);
            }
            None => self.outlet.push_back(item),
        }
    }

    /// Moves on whatever may move.
    fn advance(&mut self, now: Instant) {
        loop {
            let mut moved = false;
            for place in 0..self.links.len() {
                while self.has_room_at(place + 1) {
                    let link = &mut self.links[place];
                    let mut effects = Vec::new();
                    let item = link.stage.poll(now, &mut effects);
                    tell(&mut self.effects, &link.name, effects);
                    let Some(item) = item else {
                        break;
                    };
                    moved = true;
                    self.put(now, place + 1, item);
                }
            }
            if !moved {
                return;
            }
        }
    }
}

fn tell(told: &mut VecDeque<Told>, toxic: &Arc<str>, effects: Vec<Effect>) {
    told.extend(effects.into_iter().map(|effect| Told {
        toxic: Arc::clone(toxic),
        effect,
    }));
}
