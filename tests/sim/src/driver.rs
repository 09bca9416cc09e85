//! The clock that drives all sessions over one world: the earliest of what is due happens, a session hears of it,
//! does what follows, and so on until all have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nearcast_appliance::fault::FaultReceipt;
use nearcast_core::{Command, Input, Memory};
use nearcast_protocol::report::SessionReport;
use nearcast_units::{ByteCount, Instant};

use crate::agenda::Agenda;
use crate::client::Client;
use crate::setup::{LinkSchedule, Setup, TimedOrder, Watch, WorldSetup};
use crate::world::{Answered, Sprung, World};

/// One world and all sessions in it.
#[derive(Debug)]
pub struct Simulation {
    world: World,
    clients: Vec<Client>,
    /// Clients' deadlines, and each client's place among them.
    deadlines: BTreeSet<(Instant, usize)>,
    deadline_of: Vec<Option<Instant>>,
    /// Sessions that have not ended.
    running: usize,
    now: Instant,
    agenda: Agenda<Later>,
    schedules: Vec<LinkSchedule>,
    limit: Instant,
}

#[derive(Debug)]
enum Later {
    Input(usize, Input),
    Order(TimedOrder),
    Rebind(usize),
    /// A schedule reaches this step.
    Link {
        schedule: usize,
        step: usize,
    },
}

/// What came of one session.
#[derive(Debug)]
pub struct Outcome {
    /// The session's own report.
    pub report: SessionReport,
    /// What the session remembers, for the next one.
    pub memory: Memory,
    /// Every input and event, a line of JSON each with its time.
    pub log: Vec<String>,
    /// Broken invariants; empty in a sound run.
    pub violations: Vec<String>,
    /// Virtual time at the end.
    pub ended_at: Instant,
    /// Whether the session ended by itself: at the end of the title, or with an error; not because it was told to stop.
    pub over: bool,
    /// Body bytes that arrived from each appliance.
    pub bytes: Vec<ByteCount>,
    /// Which representation of each video segment was handed on to be shown, by the segment's index.
    pub shown: BTreeMap<u32, u16>,
    /// Video segments of which another representation took the place of one that was handed on before.
    pub replaced: usize,
}

/// What came of a world.
#[derive(Debug)]
pub struct WorldOutcome {
    /// Of each client.
    pub clients: Vec<Outcome>,
    /// Traps that sprang, in order.
    pub sprung: Vec<Sprung>,
    /// Body bytes that arrived in each second of the world from each appliance.
    pub load: Vec<Vec<u64>>,
    /// What went wrong, in order: with which appliance (`None` is the backend), and when.
    pub receipts: Vec<(Option<usize>, Instant, FaultReceipt)>,
}

/// A run that needs more steps than this for each client is a loop without progress.
const STEPS_MAX: u64 = 3_000_000;
/// Whether a run is to stop is asked after so many steps: some ten milliseconds of work.
const ASKED_EVERY: u64 = 2_048;

impl Simulation {
    /// Makes a world with one client, of which everything is watched; nothing has happened yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self::world(setup.world(Watch::ALL))
    }

    /// Makes a world; nothing has happened yet.
    ///
    /// # Panics
    /// When the set-up names a link, an appliance or a client that is not there.
    #[must_use]
    pub fn world(setup: WorldSetup) -> Self {
        let mut simulation = Self {
            world: World::new(&setup),
            clients: Vec::new(),
            deadlines: BTreeSet::new(),
            deadline_of: vec![None; setup.clients.len()],
            running: setup.clients.len(),
            now: Instant::ZERO,
            agenda: Agenda::default(),
            schedules: setup.schedules,
            limit: Instant::ZERO + setup.limit,
        };
        // What is wrong from the beginning is so before anybody plays.
        for fault in setup.faults {
            let at = Instant::ZERO + fault.at;
            simulation.agenda.add(at, Later::Order(fault));
        }
        for (index, client) in setup.clients.iter().enumerate() {
            let arrives = Instant::ZERO + client.arrives;
            let agenda = &mut simulation.agenda;
            agenda.add(arrives, Later::Input(index, Input::Load));
        }
        for (index, client) in setup.clients.into_iter().enumerate() {
            for timed in &client.commands {
                let at = Instant::ZERO + client.arrives + timed.at;
                let input = Input::Command(timed.command.clone());
                simulation.agenda.add(at, Later::Input(index, input));
            }
            for at in &client.rebinds {
                let at = Instant::ZERO + client.arrives + *at;
                simulation.agenda.add(at, Later::Rebind(index));
            }
            let client = Client::new(index, client, setup.watch);
            simulation.clients.push(client);
        }
        for schedule in 0..simulation.schedules.len() {
            simulation.reach(schedule, 0);
        }
        simulation
    }

    /// Runs until the one session ends or the limit is reached.
    ///
    /// # Panics
    /// When there is not exactly one client.
    #[must_use]
    pub fn run(self) -> Outcome {
        assert_eq!(self.clients.len(), 1, "a world with one client");
        let mut clients = self.run_all().clients;
        clients.remove(0)
    }

    /// Runs until all sessions have ended or the limit is reached.
    #[must_use]
    pub fn run_all(mut self) -> WorldOutcome {
        self.go_on(|| false);
        self.into_outcome()
    }

    /// Runs until all sessions have ended or the limit is reached, or it is to stop, which is asked now and then: then
    /// there is no outcome.
    #[must_use]
    pub fn run_unless(mut self, stops: impl Fn() -> bool) -> Option<WorldOutcome> {
        self.go_on(stops).then(|| self.into_outcome())
    }

    /// Returns whether it went on to the end.
    fn go_on(&mut self, stops: impl Fn() -> bool) -> bool {
        let mut steps = 0_u64;
        let steps_max = STEPS_MAX.saturating_mul(self.clients.len() as u64);
        while self.running > 0 {
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let due = [self.agenda.next(), self.world.next_deadline(), deadline];
            let Some(next) = due.into_iter().flatten().min() else {
                self.violated("nothing is due and the session is not over");
                break;
            };
            if next > self.limit {
                break;
            }
            if steps.is_multiple_of(ASKED_EVERY) && stops() {
                return false;
            }
            steps += 1;
            if steps > steps_max {
                self.violated("the world goes on without end");
                break;
            }
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    fn into_outcome(self) -> WorldOutcome {
        let now = self.now;
        let clients = self.clients.into_iter().enumerate();
        let clients = clients
            .map(|(index, client)| client.outcome(now, self.world.bytes(index).to_vec()))
            .collect();
        let receipts = self.world.receipts();
        let (sprung, load) = self.world.into_records();
        WorldOutcome {
            clients,
            sprung,
            load,
            receipts,
        }
    }

    fn step(&mut self) {
        let now = self.now;
        for ((client, attempt), event) in self.world.advance(now) {
            self.clients[client].heard(now, &mut self.world, attempt, event);
            self.settle(client);
        }
        self.deliver();
        while let Some(later) = self.agenda.pop(now) {
            match later {
                Later::Input(client, input) => {
                    // What stood over the old network is gone, whatever is made of that.
                    if let Input::Command(Command::NetworkChanged { .. }) = input {
                        self.world.rebind(now, client);
                    }
                    self.clients[client].tell(now, &mut self.world, input);
                    self.settle(client);
                }
                Later::Rebind(client) => {
                    self.clients[client].write(now, "rebind", "{}");
                    self.world.rebind(now, client);
                }
                Later::Order(TimedOrder { place, order, .. }) => {
                    let text = serde_json::to_string(&order);
                    let text = text.unwrap_or_else(|error| error.to_string());
                    for client in &mut self.clients {
                        client.write(now, "fault", &text);
                    }
                    if let Err(error) = self.world.tell(now, place, order) {
                        self.violated(&format!("a fault cannot be: {error}"));
                    }
                    self.deliver();
                }
                Later::Link { schedule, step } => self.reach(schedule, step),
            }
        }
        while let Some(&(due, client)) = self.deadlines.first()
            && due <= now
        {
            self.clients[client].tell(now, &mut self.world, Input::Timeout);
            self.settle(client);
        }
        for error in self.world.take_problems() {
            self.violated(&format!("a fault cannot be: {error}"));
        }
    }

    /// Clients hear what the backend says, each when it reaches them.
    fn deliver(&mut self) {
        for (index, Answered { after, said }) in self.world.take_answered() {
            self.clients[index].know(&self.world, &said);
            let at = self.now + after;
            self.agenda.add(at, Later::Input(index, said));
        }
    }

    /// Notes what a client waits for after it was told something.
    fn settle(&mut self, index: usize) {
        self.deliver();
        let client = &mut self.clients[index];
        for (after, input) in client.take_later() {
            self.agenda
                .add(self.now + after, Later::Input(index, input));
        }
        let due = client.next_deadline();
        let before = std::mem::replace(&mut self.deadline_of[index], due);
        if before != due {
            if let Some(before) = before {
                self.deadlines.remove(&(before, index));
            }
            if let Some(due) = due {
                self.deadlines.insert((due, index));
            }
        }
        if client.take_ended() {
            self.running -= 1;
        }
    }

    /// A link becomes what its schedule says, and stays so until the next step.
    fn reach(&mut self, index: usize, step: usize) {
        let schedule = &self.schedules[index];
        let Some(this) = schedule.steps.get(step) else {
            return;
        };
        self.world.set_link(self.now, schedule.link, this.link);
        let next = step + 1;
        let last = next == schedule.steps.len();
        if !last || schedule.repeats {
            let later = Later::Link {
                schedule: index,
                step: if last { 0 } else { next },
            };
            // A step of no time at all, repeated, would go on for ever at one time.
            let lasts = this.lasts.max(Duration::from_micros(1));
            self.agenda.add(self.now + lasts, later);
        }
    }

    fn violated(&mut self, what: &str) {
        let at_s = self.now.as_secs_f64();
        for client in self.clients.iter_mut().filter(|client| !client.is_over()) {
            client.violated(format!("at {at_s} s: {what}"));
        }
    }
}

impl Outcome {
    /// Returns the log as one text, to compare two runs byte for byte.
    #[must_use]
    pub fn text(&self) -> String {
        self.log.join("\n")
    }
}
