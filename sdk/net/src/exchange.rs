//! One request's life: a connection, the request, redirects, headers, hand-over of the body.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use http_body_util::Empty;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::classify;
use crate::connect::{Attempt, Connection, Sender, in_turn};
use crate::error::{ConnectStage, NetError, Phase};
use crate::headers::{self, Headers};
use crate::net::{Inner, locked};
use crate::pool::{Ticket, Wanted};
use crate::reply::{Body, Reply};
use crate::request::{NetEvent, Origin, Protocol, Protocols, Purpose, Request, Scheme};

/// Redirects followed; a chain of honest ones is shorter.
const REDIRECTS_MAX: u32 = 5;
/// The body of a redirect that is read so that its connection can be kept; a longer one is not worth it.
const REDIRECT_BODY_MAX: u64 = 16 * 1024;

/// Carries out `request` and tells what happens, all but the end.
pub(crate) async fn run(
    net: Arc<Inner>,
    request: Request,
    events: &mpsc::Sender<NetEvent>,
) -> Result<(), NetError> {
    let mut exchange = Exchange {
        headers: exchange_headers(&net.headers, &request)?,
        net,
        origin: request.origin,
        addresses: request.addresses,
        path_and_query: request.path_and_query,
        protocols: request.protocols,
        happy_eyeballs_delay: request.happy_eyeballs_delay,
        events,
    };
    let mut hops = 0;
    loop {
        let mut reply = exchange.ask().await?;
        exchange.learn(&reply);
        if let Some(location) = redirect_location(&reply) {
            hops += 1;
            if hops > REDIRECTS_MAX {
                return Err(NetError::RedirectLoop { hops });
            }
            let (origin, path_and_query) = exchange.target_of(&location)?;
            exchange.discard(reply).await;
            exchange.redirect(origin, path_and_query);
            continue;
        }
        let mut head = headers::read(
            reply.status,
            &reply.headers,
            reply.lease.connection.protocol,
            request.range,
        )?;
        head.redirected_to = (hops > 0).then(|| exchange.url());
        let expected = expected_length(&head);
        exchange.tell(NetEvent::Headers(Box::new(head))).await?;
        loop {
            match reply.next_pieces(expected).await {
                Ok(Some(pieces)) => exchange.tell(NetEvent::Body(pieces)).await?,
                Ok(None) => break,
                Err(error) => {
                    exchange.blame(&reply.lease.connection, &error);
                    return Err(error);
                }
            }
        }
        exchange.keep(reply.lease);
        return Ok(());
    }
}

struct Exchange<'a> {
    net: Arc<Inner>,
    origin: Origin,
    addresses: Vec<IpAddr>,
    path_and_query: String,
    headers: HeaderMap,
    protocols: Protocols,
    happy_eyeballs_delay: std::time::Duration,
    events: &'a mpsc::Sender<NetEvent>,
}

/// A connection held by a request. Dropped before the body's end, it is not used again.
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    ticket: Ticket,
    reused: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Exchange<'_> {
    async fn tell(&self, event: NetEvent) -> Result<(), NetError> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| NetError::Cancelled)
    }

    /// Gets an answer. A kept connection may have been closed by the other side just now, or refuse the
    /// request unread: then, and only then, the request is sent once more, on another one.
    async fn ask(&self) -> Result<Reply, NetError> {
        let lease = self.lease().await?;
        let again = lease.reused;
        match self.answer(lease).await {
            Err(failure) if again && failure.may_be_sent_again => {
                // None is kept now but what was opened since (see `Pool::died`).
                tracing::debug!(edge = %self.origin, "a kept connection was dead, a fresh one is opened");
                let lease = self.lease().await?;
                self.answer(lease).await.map_err(|failure| failure.error)
            }
            result => result.map_err(|failure| failure.error),
        }
    }

    /// Sends the request and waits for the beginning of its answer. A kept connection that fails is kept no
    /// longer.
    async fn answer(&self, mut lease: Lease) -> Result<Reply, Unanswered> {
        match self.send(&mut lease.connection).await {
            Ok((head, body)) => Ok(Reply::new(head, body, lease, self.net.phase_limit)),
            Err(failure) => {
                if failure.may_be_sent_again && lease.reused {
                    self.net.pool.died(&self.origin, &lease.connection);
                }
                self.blame(&lease.connection, &failure.error);
                Err(failure)
            }
        }
    }

    /// Remembers a QUIC connection that fell silent: the next one is better opened over TCP.
    fn blame(&self, connection: &Connection, error: &NetError) {
        let silent = matches!(
            error,
            NetError::QuicTimeout { .. } | NetError::Stalled { .. }
        );
        if silent && connection.protocol == Protocol::Http3 {
            self.net.pool.remove(&self.origin, connection);
            locked(&self.net.h3).silent(&self.origin, connection.network, Instant::now());
        }
    }

    async fn lease(&self) -> Result<Lease, NetError> {
        let limit = self.net.phase_limit;
        let mut ticket = self.net.pool.ticket(&self.origin);
        let only_http1 = !self.protocols.http2 && !self.protocols.http3;
        let one_each = only_http1 || self.origin.scheme == Scheme::Http || ticket.speaks_http1;
        let mut slot = None;
        if one_each && self.protocols.http1 {
            slot = Some(self.slot(&ticket).await?);
        }
        if let Some(lease) = self.kept(&ticket, &mut slot).await? {
            return Ok(lease);
        }
        let mut gate = None;
        if !one_each {
            // Who waits too long goes on alone.
            gate = timeout(limit, ticket.gate.clone().lock_owned()).await.ok();
            ticket = self.net.pool.ticket(&self.origin);
            if ticket.speaks_http1 && self.protocols.http1 {
                // There is nothing to share: who comes after need not wait for this connection.
                gate = None;
                slot = Some(self.slot(&ticket).await?);
            }
            if let Some(lease) = self.kept(&ticket, &mut slot).await? {
                return Ok(lease);
            }
        }

        let addresses = self.resolve().await?;
        let (way, network) = {
            let memory = locked(&self.net.h3);
            let way = memory.way(&self.origin, self.usable_protocols(), Instant::now());
            (way, memory.network())
        };
        let Some(way) = way else {
            return Err(NetError::Unsupported {
                detail: format!("{} with none but the allowed protocols", self.origin),
            });
        };
        let attempt = Attempt {
            origin: &self.origin,
            addresses: &addresses,
            protocols: self.protocols,
            happy_eyeballs_delay: self.happy_eyeballs_delay,
            network,
        };
        let connection = self.net.connect(&attempt, way).await?;
        if connection.protocol == Protocol::Http1 {
            if self.protocols.http2 {
                self.net.pool.speaks_http1(&self.origin);
            }
            if slot.is_none() {
                slot = Some(self.slot(&ticket).await?);
            }
        } else if let Some(share) = connection.share() {
            let now = Instant::now();
            self.net.pool.put(&self.origin, &ticket, share, now);
        }
        drop(gate);
        self.tell(NetEvent::Connected {
            cold: true,
            protocol: connection.protocol,
            rtt: connection.rtt,
            peer: connection.peer,
        })
        .await?;
        Ok(Lease {
            connection,
            ticket,
            reused: false,
            _slot: slot,
        })
    }

    async fn slot(&self, ticket: &Ticket) -> Result<OwnedSemaphorePermit, NetError> {
        let slot = timeout(self.net.phase_limit, ticket.slots.clone().acquire_owned()).await;
        match slot {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(NetError::ConnectTimeout {
                origin: self.origin.clone(),
                stage: ConnectStage::Slot,
            }),
        }
    }

    /// Takes a kept connection, if there is one that fits.
    async fn kept(
        &self,
        ticket: &Ticket,
        slot: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Lease>, NetError> {
        let now = Instant::now();
        let wanted = Wanted {
            origin: &self.origin,
            protocols: self.protocols,
            h3_first: locked(&self.net.h3).prefers(&self.origin, self.protocols, now),
            addresses: self.given(),
        };
        let Some(connection) = self.net.pool.take(&wanted, now) else {
            return Ok(None);
        };
        let slot = match (connection.protocol, slot.take()) {
            (Protocol::Http1, None) => Some(self.slot(ticket).await?),
            (Protocol::Http1, slot) => slot,
            (Protocol::Http2 | Protocol::Http3, _) => None,
        };
        self.tell(NetEvent::Connected {
            cold: false,
            protocol: connection.protocol,
            rtt: connection.current_rtt(),
            peer: connection.peer,
        })
        .await?;
        Ok(Some(Lease {
            connection,
            ticket: ticket.clone(),
            reused: true,
            _slot: slot,
        }))
    }

    /// A proxy carries TCP only.
    fn usable_protocols(&self) -> Protocols {
        Protocols {
            http3: self.protocols.http3 && self.net.proxy.is_none(),
            ..self.protocols
        }
    }

    /// Returns the addresses that are known without a look-up: those that the configuration fixes, else those
    /// that came with the request. None through a proxy, which looks the name up itself.
    fn given(&self) -> &[IpAddr] {
        if self.net.proxy.is_some() {
            return &[];
        }
        let fixed = self.net.names.fixed(&self.origin.host);
        fixed.unwrap_or(&self.addresses)
    }

    async fn resolve(&self) -> Result<Vec<IpAddr>, NetError> {
        let given = self.given();
        let (addresses, from_cache) = if given.is_empty() {
            let host = match &self.net.proxy {
                Some(proxy) => &proxy.host,
                None => &self.origin.host,
            };
            let found = timeout(self.net.phase_limit, self.net.names.lookup(host)).await;
            let found =
                found.unwrap_or_else(|_| Err(NetError::DnsTimeout { host: host.clone() }))?;
            (found.addresses, found.from_cache)
        } else {
            (given.to_vec(), true)
        };
        let addresses = in_turn(&addresses);
        self.tell(NetEvent::Resolved {
            addresses: addresses.clone(),
            from_cache,
        })
        .await?;
        Ok(addresses)
    }

    async fn send(
        &self,
        connection: &mut Connection,
    ) -> Result<(http::response::Parts, Body), Unanswered> {
        let peer = connection.peer;
        let limit = self.net.phase_limit;
        let failed = |error: hyper::Error| {
            let one_stream = classify::is_stream_reset(&error);
            Unanswered::new(classify::from_hyper(&error, peer, 0), one_stream)
        };
        let alive = connection.alive.clone();
        let failed_h3 = |error: h3::error::StreamError| {
            let closed = alive.quic_closed();
            let one_stream = closed.is_none() && classify::is_h3_stream_reset(&error);
            Unanswered::new(
                classify::from_h3(&error, closed.as_ref(), peer, 0),
                one_stream,
            )
        };
        let message = self.message(connection.protocol)?;
        match &mut connection.sender {
            Sender::Http1(sender) => {
                within(limit, sender.ready()).await?.map_err(failed)?;
                let answer = sender.send_request(message.map(|()| Empty::new()));
                self.tell(NetEvent::RequestSent).await?;
                let (parts, body) = within(limit, answer).await?.map_err(failed)?.into_parts();
                Ok((parts, Body::Hyper(body)))
            }
            Sender::Http2(sender) => {
                within(limit, sender.ready()).await?.map_err(failed)?;
                let answer = sender.send_request(message.map(|()| Empty::new()));
                self.tell(NetEvent::RequestSent).await?;
                let (parts, body) = within(limit, answer).await?.map_err(failed)?.into_parts();
                Ok((parts, Body::Hyper(body)))
            }
            Sender::Http3(sender) => {
                let stream = within(limit, sender.send_request(message)).await?;
                let mut body = Box::new(stream.map_err(failed_h3)?);
                within(limit, body.finish()).await?.map_err(failed_h3)?;
                self.tell(NetEvent::RequestSent).await?;
                let answer = async {
                    loop {
                        // h3 returns the interim ones too (RFC 9114 §4.1).
                        let answer = body.recv_response().await?;
                        if !answer.status().is_informational() {
                            return Ok(answer);
                        }
                    }
                };
                let answer = within(limit, answer).await?.map_err(failed_h3)?;
                let (parts, ()) = answer.into_parts();
                Ok((parts, Body::Http3(body)))
            }
        }
    }

    fn message(&self, protocol: Protocol) -> Result<http::Request<()>, NetError> {
        let invalid = |detail: String| NetError::InvalidRequest { detail };
        let host = self.origin.authority();
        let uri = match protocol {
            Protocol::Http1 => self.path_and_query.clone(),
            Protocol::Http2 | Protocol::Http3 => self.url(),
        };
        if !self.path_and_query.starts_with('/') {
            return Err(invalid("the path does not begin with `/`".to_owned()));
        }
        let mut message = http::Request::new(());
        *message.method_mut() = Method::GET;
        *message.uri_mut() = Uri::try_from(uri).map_err(|error| invalid(error.to_string()))?;
        *message.headers_mut() = self.headers.clone();
        if protocol == Protocol::Http1 {
            let host = HeaderValue::from_str(&host).map_err(|error| invalid(error.to_string()))?;
            message.headers_mut().insert(header::HOST, host);
        }
        Ok(message)
    }

    fn url(&self) -> String {
        format!("{}{}", self.origin, self.path_and_query)
    }

    fn learn(&self, reply: &Reply) {
        if let Some(value) = headers::list(&reply.headers, &header::ALT_SVC)
            && self.origin.scheme == Scheme::Https
        {
            let network = reply.lease.connection.network;
            locked(&self.net.h3).announce(&self.origin, &value, network, Instant::now());
        }
    }

    fn target_of(&self, location: &str) -> Result<(Origin, String), NetError> {
        let refused = |detail: String| NetError::RedirectRefused { detail };
        let target = Url::parse(&self.url()).and_then(|base| base.join(location));
        let target = target.map_err(|error| refused(error.to_string()))?;
        let (origin, path) =
            Origin::split_url(&target).map_err(|error| refused(error.to_string()))?;
        if self.origin.scheme == Scheme::Https && origin.scheme == Scheme::Http {
            return Err(refused("from https to http".to_owned()));
        }
        Ok((origin, path))
    }

    fn redirect(&mut self, origin: Origin, path_and_query: String) {
        if origin != self.origin {
            // Neither the addresses nor the credentials belong to the new host, and nobody promised that it
            // speaks HTTP/3.
            self.addresses.clear();
            self.protocols.h3_first = false;
            for name in [header::AUTHORIZATION, header::COOKIE] {
                self.headers.remove(name);
            }
            self.origin = origin;
        }
        self.path_and_query = path_and_query;
    }

    /// Reads a short body to its end, so that the connection can be kept.
    async fn discard(&self, mut reply: Reply) {
        while reply.received() <= REDIRECT_BODY_MAX {
            match reply.next_pieces(None).await {
                Ok(Some(_)) => {}
                Ok(None) => return self.keep(reply.lease),
                Err(_) => return,
            }
        }
    }

    /// Gives an HTTP/1.1 connection back; of the others the pool has a share already.
    fn keep(&self, lease: Lease) {
        let Lease {
            connection, ticket, ..
        } = lease;
        let now = Instant::now();
        if connection.protocol == Protocol::Http3 {
            locked(&self.net.h3).served(connection.network);
        }
        if connection.protocol == Protocol::Http1 {
            self.net.pool.put(&self.origin, &ticket, connection, now);
        } else {
            self.net.pool.used(&self.origin, &connection, now);
        }
    }
}

/// Why a request got no answer.
struct Unanswered {
    error: NetError,
    /// Its connection is dead, or refused it unread.
    may_be_sent_again: bool,
}

impl Unanswered {
    fn new(error: NetError, one_stream: bool) -> Self {
        let broken = matches!(
            error,
            NetError::Reset { .. }
                | NetError::ClosedEarly { .. }
                | NetError::QuicTimeout { .. }
                | NetError::Unreachable { .. }
        );
        Self {
            error,
            may_be_sent_again: broken && !one_stream,
        }
    }
}

impl From<NetError> for Unanswered {
    /// Of what happens on this side: it would happen again.
    fn from(error: NetError) -> Self {
        Self {
            error,
            may_be_sent_again: false,
        }
    }
}

/// Waits for the beginning of an answer, no longer than the backstop.
async fn within<F: Future>(limit: std::time::Duration, future: F) -> Result<F::Output, NetError> {
    let late = |_| NetError::Stalled {
        phase: Phase::Headers,
        received: 0,
    };
    timeout(limit, future).await.map_err(late)
}

fn exchange_headers(usual: &HeaderMap, request: &Request) -> Result<HeaderMap, NetError> {
    let mut map = usual.clone();
    if request.purpose == Purpose::Control {
        map.insert(
            HeaderName::from_static("priority"),
            HeaderValue::from_static("u=1"),
        );
    }
    if let Some(range) = request.range {
        if range.last.is_some_and(|last| last < range.first) {
            return Err(NetError::InvalidRequest {
                detail: format!("the range {range} is empty"),
            });
        }
        let value = HeaderValue::from_str(&range.to_string());
        let value = value.map_err(|error| NetError::InvalidRequest {
            detail: error.to_string(),
        })?;
        map.insert(header::RANGE, value);
    }
    for (name, value) in &request.headers {
        let parsed = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        );
        let (Ok(key), Ok(value)) = parsed else {
            return Err(NetError::InvalidRequest {
                detail: format!("header `{name}` is not allowed in HTTP"),
            });
        };
        map.insert(key, value);
    }
    Ok(map)
}

fn redirect_location(reply: &Reply) -> Option<String> {
    if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = reply.headers.get(header::LOCATION)?.to_str().ok()?;
    Some(location.to_owned())
}

/// The number of bytes the body must have.
fn expected_length(head: &Headers) -> Option<u64> {
    match head.status {
        204 | 304 => None,
        _ => head
            .content_length
            .or(head.content_range.map(|range| range.last - range.first + 1)),
    }
}
