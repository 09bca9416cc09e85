//! `nearcast probe`: what edges are worth from here, measured by the player's own network code.

use std::time::Duration;

use clap::Args;
use nearcast_net::{Net, NetEvent, Protocol, Protocols, Range, Request};
use nearcast_player::ByteCount;
use serde::Serialize;
use tokio::time::Instant;

use super::source::{HttpChoice, NetworkArguments, parse_url};
use super::{Context, Failure, Place, print, print_json};

/// What `probe` can be told.
#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    /// URLs of a file on each edge (`https://edge.example/demo/v3/00001.m4s`)
    #[arg(required = true, value_name = "URL", value_parser = parse_url)]
    urls: Vec<String>,
    /// Bytes to fetch from each, from the start of the file
    #[arg(long, default_value_t = 262_144, value_parser = clap::value_parser!(u64).range(1..=67_108_864))]
    bytes: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "Network")]
    network: NetworkArguments,
}

/// One edge's measurement.
#[derive(Debug, Default, Serialize)]
struct Measured {
    url: String,
    protocol: Option<&'static str>,
    peer: Option<String>,
    connect_ms: Option<f64>,
    ttfb_ms: Option<f64>,
    bytes: u64,
    rate_bps: Option<u64>,
    status: Option<u16>,
    code: Option<String>,
    error: Option<String>,
}

/// An edge that takes longer is told as such.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(arguments: &ProbeArguments, context: &Context) -> Result<(), Failure> {
    arguments.network.check_http(&arguments.urls)?;
    let network = arguments.network.network(context, None)?;
    let net = network.net();
    let protocols = arguments.network.http.map_or(
        Protocols {
            h3_first: true,
            ..Protocols::ALL
        },
        |http| {
            Protocols::only(match http {
                HttpChoice::H3 => Protocol::Http3,
                HttpChoice::H2 => Protocol::Http2,
                HttpChoice::Http1 => Protocol::Http1,
            })
        },
    );
    let mut all = Vec::new();
    for url in &arguments.urls {
        let measured = measure(net, url, protocols, arguments.bytes).await;
        if !arguments.json {
            print(line(&measured));
        }
        all.push(measured);
    }
    network.close().await;
    if arguments.json {
        print_json(&all)?;
    }
    let failed = all.iter().filter(|one| one.error.is_some()).count();
    let Some(first) = all.iter().find(|one| one.error.is_some()) else {
        return Ok(());
    };
    let code = first.code.as_deref().unwrap_or_default();
    let said = first.error.as_deref().unwrap_or_default();
    let share = match all.len() {
        1 => "the edge could not be measured: ".to_owned(),
        many => format!("{failed} of {many} edges could not be measured; the first said: "),
    };
    let place = Place {
        url: first.url.clone(),
        is_backend: false,
        proxy: arguments.network.proxy.clone(),
    };
    Err(Failure::new(code, share + said)
        .caused_by(code, said)
        .at(&place))
}

async fn measure(net: &Net, url: &str, protocols: Protocols, bytes: u64) -> Measured {
    let mut measured = Measured {
        url: url.split('?').next().unwrap_or_default().to_owned(),
        ..Measured::default()
    };
    let mut request = match Request::get(url) {
        Ok(request) => request,
        Err(error) => {
            measured.code = Some(error.code().to_owned());
            measured.error = Some(error.to_string());
            return measured;
        }
    };
    request.protocols = protocols;
    request.range = Some(Range {
        first: 0,
        last: Some(bytes - 1),
    });
    if tokio::time::timeout(LIMIT, follow(net, request, &mut measured))
        .await
        .is_err()
    {
        measured.code = Some("net.stalled".to_owned());
        measured.error = Some(format!("no end within {} s", LIMIT.as_secs()));
    }
    measured
}

async fn follow(net: &Net, request: Request, measured: &mut Measured) {
    let limit = request
        .range
        .and_then(|range| range.last)
        .map_or(u64::MAX, |last| last + 1);
    let began = Instant::now();
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let (handle, mut events) = net.start(request);
    let mut sent = began;
    let mut first_byte: Option<Instant> = None;
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Connected { protocol, peer, .. } => {
                measured.connect_ms = Some(ms(began));
                measured.peer = Some(peer.to_string());
                measured.protocol = Some(match protocol {
                    Protocol::Http1 => "http1",
                    Protocol::Http2 => "h2",
                    Protocol::Http3 => "h3",
                });
            }
            NetEvent::RequestSent => sent = Instant::now(),
            NetEvent::Headers(headers) => {
                measured.status = Some(headers.status);
                if headers.status >= 400 {
                    measured.code = Some(status_code(headers.status).to_owned());
                    measured.error =
                        Some(format!("it answered with HTTP status {}", headers.status));
                    break;
                }
            }
            NetEvent::Body(chunk) => {
                if first_byte.is_none() {
                    measured.ttfb_ms = Some(ms(sent));
                    first_byte = Some(Instant::now());
                }
                measured.bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                // A server that ignores ranges sends it all: enough is enough.
                if measured.bytes >= limit {
                    break;
                }
            }
            NetEvent::Ended(Err(error)) => {
                measured.code = Some(error.code().to_owned());
                measured.error = Some(error.to_string());
            }
            NetEvent::Resolved { .. } | NetEvent::Ended(Ok(())) => {}
        }
    }
    handle.cancel();
    measured.rate_bps = first_byte
        .and_then(|first| ByteCount::new(measured.bytes).rate_over(first.elapsed()))
        .map(nearcast_player::BitRate::as_bps);
}

/// Returns what playback calls such an answer.
const fn status_code(status: u16) -> &'static str {
    match status {
        401 | 403 => "edge.token_rejected",
        404 | 410 => "edge.not_found",
        416 => "edge.range_not_satisfiable",
        429 => "edge.too_many_requests",
        503 => "edge.unavailable",
        500..=599 => "edge.server_error",
        _ => "edge.unexpected_status",
    }
}

fn line(measured: &Measured) -> String {
    if let Some(error) = &measured.error {
        return format!(
            "{}: {}: {error}",
            measured.url,
            measured.code.as_deref().unwrap_or("net")
        );
    }
    let ms =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
    let rate = measured
        .rate_bps
        .map_or_else(|| "-".to_owned(), |bps| format!("{} kbit/s", bps / 1000));
    format!(
        "{}: {} to {}, connected after {}, first byte after {}, {} bytes at {rate}",
        measured.url,
        measured.protocol.unwrap_or("-"),
        measured.peer.as_deref().unwrap_or("-"),
        ms(measured.connect_ms),
        ms(measured.ttfb_ms),
        measured.bytes,
    )
}
