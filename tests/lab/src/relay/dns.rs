//! A name server of this machine that answers wrongly on purpose: no such name, failure, silence, lateness, another
//! address. UDP only; what it does not know does not exist.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use nearcast_units::Instant;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::config::RelayError;
use super::receipt::{Deed, Ledger, Receipt};

/// What a name server does with a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum NameFault {
    /// Answers it.
    #[default]
    None,
    /// Says that there is no such name (NXDOMAIN).
    NoSuchName,
    /// Says that it has failed (SERVFAIL).
    ServerFailure,
    /// Says nothing.
    Silent,
    /// Answers it later.
    Slow {
        /// By so many milliseconds.
        by_ms: u64,
    },
    /// Answers with another address, and with none of the other family.
    WrongAddress {
        /// Which one.
        address: IpAddr,
    },
}

/// What a name server knows, and where it listens.
#[derive(Clone, Debug)]
pub struct NameServerConfig {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// The addresses of each name, which has no dot at its end.
    pub zone: BTreeMap<String, Vec<IpAddr>>,
    /// How long answers may be kept, in whole seconds.
    pub time_to_live: Duration,
}

/// A name server at work. Dropping it closes its port.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    ledger: Arc<Ledger>,
    tasks: TaskTracker,
    closed: DropGuard,
}

#[derive(Debug, Default)]
struct Faults {
    all: NameFault,
    by_name: BTreeMap<String, NameFault>,
}

impl NameServer {
    /// Opens the port, and answers from then on.
    ///
    /// # Errors
    /// When the port cannot be had.
    ///
    /// # Panics
    /// Outside of a runtime with timers and sockets.
    pub fn start(config: NameServerConfig) -> Result<Self, RelayError> {
        let refused = |source| RelayError::Listen {
            address: config.listen,
            source: Arc::new(source),
        };
        let socket = super::datagrams::bind(config.listen).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let clock = Clock::start();
        let ledger = Arc::new(Ledger::new(clock));
        let (faults, followed) = watch::channel(Faults::default());
        let closed = CancellationToken::new();
        let desk = Desk {
            socket,
            zone: config.zone,
            time_to_live: u32::try_from(config.time_to_live.as_secs()).unwrap_or(u32::MAX),
            faults: followed,
            ledger: Arc::clone(&ledger),
            clock,
            late: BTreeMap::new(),
            questions: 0,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(desk.answer_until(closed.clone()));
        tasks.close();
        Ok(Self {
            address,
            faults,
            ledger,
            tasks,
            closed: closed.drop_guard(),
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does with questions about a name, or about all that have no fault of their own.
    pub fn set_fault(&self, name: Option<&str>, fault: NameFault) {
        self.faults.send_modify(|faults| match name {
            Some(name) if fault == NameFault::None => drop(faults.by_name.remove(name)),
            Some(name) => drop(faults.by_name.insert(name.to_lowercase(), fault)),
            None => faults.all = fault,
        });
    }

    /// Returns what it did to questions; `offset` is the how manieth question it was, from 0 on.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        self.ledger.receipts()
    }

    /// Waits for a receipt, and returns the oldest that is meant; one that is there already will do.
    pub async fn receipt(&self, is_it: impl Fn(&Receipt) -> bool) -> Receipt {
        self.ledger.wait_for(is_it).await
    }

    /// Closes the port; when this returns, it is free.
    pub async fn close(self) {
        drop(self.closed);
        self.tasks.wait().await;
    }
}

/// Late answers that wait; what comes on top is not answered.
const LATE_MAX: usize = 4096;
/// Questions are no longer, without TCP.
const QUESTION_MAX: usize = 4096;

/// Who answers.
struct Desk {
    socket: UdpSocket,
    zone: BTreeMap<String, Vec<IpAddr>>,
    time_to_live: u32,
    faults: watch::Receiver<Faults>,
    ledger: Arc<Ledger>,
    clock: Clock,
    /// Answers that are held back, by when they go and which question they are for.
    late: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    questions: u64,
}

impl Desk {
    async fn answer_until(mut self, closed: CancellationToken) {
        let mut buffer = [0; QUESTION_MAX];
        loop {
            let due = self.late.keys().next().map(|(due, _)| *due);
            tokio::select! {
                () = closed.cancelled() => return,
                () = self.clock.sleep_until(due) => {
                    if let Some((_, (whom, answer))) = self.late.pop_first() {
                        self.send(whom, &answer).await;
                    }
                }
                asked = self.socket.recv_from(&mut buffer) => {
                    // What an earlier answer met says nothing about the next question.
                    if let Ok((size, whom)) = asked {
                        self.take(buffer.get(..size).unwrap_or_default(), whom).await;
                    }
                }
            }
        }
    }

    /// Takes a question; what is none is not answered.
    async fn take(&mut self, question: &[u8], whom: SocketAddr) {
        let Ok(question) = Message::from_vec(question) else {
            return;
        };
        let Some(query) = question.queries.first() else {
            return;
        };
        let name = query.name().to_ascii().to_lowercase();
        let name = name.trim_end_matches('.').to_owned();
        let fault = {
            let faults = self.faults.borrow_and_update();
            faults.by_name.get(&name).copied().unwrap_or(faults.all)
        };
        let number = self.questions;
        self.questions += 1;
        let answer = self.answer(&question, &name, fault);
        if fault != NameFault::None {
            self.ledger.write(Receipt {
                at: self.clock.now(),
                connection: None,
                direction: None,
                offset: Some(number),
                toxic: None,
                deed: Deed::Misnamed {
                    name,
                    record: query.query_type().to_string(),
                    by: fault,
                },
            });
        }
        match (fault, answer) {
            (NameFault::Silent, _) | (_, None) => {}
            (NameFault::Slow { by_ms }, Some(answer)) => {
                if self.late.len() < LATE_MAX {
                    let due = self.clock.now() + Duration::from_millis(by_ms);
                    self.late.insert((due, number), (whom, answer));
                }
            }
            (
                NameFault::None
                | NameFault::NoSuchName
                | NameFault::ServerFailure
                | NameFault::WrongAddress { .. },
                Some(answer),
            ) => self.send(whom, &answer).await,
        }
    }

    async fn send(&self, whom: SocketAddr, answer: &[u8]) {
        if let Err(error) = self.socket.send_to(answer, whom).await {
            tracing::debug!(%error, "who asked cannot be reached");
        }
    }

    /// Returns an answer as it goes over the wire.
    fn answer(&self, question: &Message, name: &str, fault: NameFault) -> Option<Vec<u8>> {
        let query = question.queries.first()?;
        let mut answer = Message::new(
            question.metadata.id,
            MessageType::Response,
            question.metadata.op_code,
        );
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = true;
        answer.add_query(query.clone());
        let known = self.zone.get(name);
        let mut give = |address: IpAddr| {
            let data = match (address, query.query_type()) {
                (IpAddr::V4(address), RecordType::A) => RData::A(address.into()),
                (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(address.into()),
                _ => return,
            };
            let record = Record::from_rdata(query.name().clone(), self.time_to_live, data);
            answer.add_answer(record);
        };
        let code = match (fault, known) {
            (NameFault::ServerFailure, _) => ResponseCode::ServFail,
            (NameFault::NoSuchName, _) => ResponseCode::NXDomain,
            (NameFault::WrongAddress { address }, _) => {
                give(address);
                ResponseCode::NoError
            }
            (NameFault::None | NameFault::Slow { .. } | NameFault::Silent, Some(addresses)) => {
                addresses.iter().copied().for_each(give);
                ResponseCode::NoError
            }
            (NameFault::None | NameFault::Slow { .. } | NameFault::Silent, None) => {
                ResponseCode::NXDomain
            }
        };
        answer.metadata.response_code = code;
        let answer = answer.to_vec().map_err(io::Error::other);
        answer
            .inspect_err(|error| tracing::warn!(%error, "an answer cannot be written"))
            .ok()
    }
}
