//! TCP through the relay.

use std::io::ErrorKind;
use std::time::Duration;

use nearcast_lab::relay::{
    Deed, Direction, Handed, Reach, Receipt, Relay, RelayConfig, StreamPath, Upstream,
};
use nearcast_units::BitRate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{SILENCE, Stage, never, passes, pattern, soon};

#[tokio::test]
async fn bytes_pass_both_ways_and_each_end_may_finish_first() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 3_000_000).await;
    passes(&mut server, &mut client, 1000).await;
    // Both at once, more than sockets hold.
    let sent = pattern(3_000_000);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut up, mut down) = (vec![0; sent.len()], vec![0; sent.len()]);
    soon(async {
        tokio::try_join!(
            to_client.write_all(&sent),
            to_server.write_all(&sent),
            async { from_server.read_exact(&mut up).await.map(drop) },
            async { from_client.read_exact(&mut down).await.map(drop) },
        )
    })
    .await
    .unwrap();
    assert!(up == sent && down == sent);
    // The client's end reaches the server, which still answers.
    client.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0])).await.unwrap(), 0);
    passes(&mut server, &mut client, 3_000_000).await;
    server.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let counts = stage.relay.counts();
    assert_eq!(counts.connections, 1);
    assert_eq!(counts.upstream_bytes, 6_000_000);
    assert_eq!(counts.downstream_bytes, 6_001_000);
    assert_eq!(stage.relay.receipts(), [], "nothing was done");
}

#[tokio::test]
async fn who_does_not_read_stops_who_sends() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    let flood = vec![0; 1024 * 1024];
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(SILENCE, server.write(&flood)).await {
        taken += written.unwrap();
        // Sockets hold some megabytes.
        assert!(
            taken < 64 * 1024 * 1024,
            "the relay holds all that it is given"
        );
    }
    // It is no more than held: all of it is there.
    let sent = stage.relay.counts().downstream_bytes;
    let mut arrived = vec![0; usize::try_from(sent).unwrap()];
    soon(client.read_exact(&mut arrived)).await.unwrap();
}

#[tokio::test]
async fn refusing_is_refused_by_the_system_and_spares_what_stands() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    stage.relay.set_reach(Reach::Refused).await.unwrap();
    let refused = soon(TcpStream::connect(stage.relay.address())).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    passes(&mut client, &mut server, 1000).await;
    stage.relay.set_reach(Reach::Open).await.unwrap();
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;
    let deeds: Vec<Deed> = stage
        .relay
        .receipts()
        .into_iter()
        .map(|receipt| receipt.deed)
        .collect();
    assert_eq!(deeds, [Deed::Refusing, Deed::Opened]);
}

#[tokio::test]
async fn a_reset_reaches_both_ends_of_every_connection() {
    let stage = Stage::new().await;
    let (mut one, mut other) = (stage.connect().await, stage.connect().await);
    passes(&mut one.1, &mut one.0, 1000).await;
    stage.relay.reset_connections();
    for end in [&mut one.0, &mut one.1, &mut other.0, &mut other.1] {
        let error = soon(end.read(&mut [0])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    for (connection, downstream_bytes) in [(0, 1000), (1, 0)] {
        let reset = Deed::Reset(Handed {
            upstream_bytes: 0,
            downstream_bytes,
        });
        let is_it =
            |receipt: &Receipt| receipt.connection == Some(connection) && receipt.deed == reset;
        soon(stage.relay.receipt(is_it)).await;
    }
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;
}

#[tokio::test]
async fn a_server_that_resets_is_told_as_such_behind_what_it_sent() {
    let stage = Stage::new().await;
    let path = StreamPath {
        delay: Duration::from_millis(50),
        ..StreamPath::default()
    };
    stage.relay.set_stream_path(Direction::Downstream, path);
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 10).await;
    server.write_all(&pattern(1000)).await.unwrap();
    // Once the relay has read it, it cannot be taken back by the reset.
    soon(
        stage
            .relay
            .receipt(|receipt| matches!(receipt.deed, Deed::Delayed { .. })),
    )
    .await;
    server.set_zero_linger().unwrap();
    drop(server);
    let mut arrived = vec![0; 1000];
    soon(client.read_exact(&mut arrived)).await.unwrap();
    assert_eq!(arrived, pattern(1000));
    let error = soon(client.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_black_hole_passes_nothing_closes_nothing_and_goes_on_where_it_stood() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut server, &mut client, 1000).await;
    stage.relay.set_reach(Reach::BlackHole).await.unwrap();
    let passed = stage.relay.counts();

    let (up, down) = (pattern(100_000), pattern(100_000));
    soon(client.write_all(&up)).await.unwrap();
    soon(server.write_all(&down)).await.unwrap();
    for direction in [Direction::Upstream, Direction::Downstream] {
        let offset = match direction {
            Direction::Upstream => 0,
            Direction::Downstream => 1000,
        };
        let silenced = stage.relay.receipt(|receipt| {
            receipt.deed == Deed::Silenced && receipt.direction == Some(direction)
        });
        assert_eq!(soon(silenced).await.offset, Some(offset));
    }
    never(client.read(&mut [0])).await;
    never(server.read(&mut [0])).await;
    assert_eq!(stage.relay.counts(), passed, "bytes passed");

    // Who calls now is not answered, or is never heard.
    let mut calling = Box::pin(TcpStream::connect(stage.relay.address()));
    let hole = stage
        .relay
        .receipt(|receipt| matches!(receipt.deed, Deed::BlackHole { .. }));
    let unanswered = soon(hole).await.deed == Deed::BlackHole { unanswered: true };
    assert!(
        unanswered || !cfg!(target_os = "linux"),
        "calls are answered"
    );
    if unanswered {
        never(&mut calling).await;
    }
    never(stage.server.accept()).await;

    stage.relay.set_reach(Reach::Open).await.unwrap();
    let mut arrived = vec![0; 100_000];
    soon(server.read_exact(&mut arrived)).await.unwrap();
    assert!(arrived == up);
    soon(client.read_exact(&mut arrived)).await.unwrap();
    assert!(arrived == down);
    // The system calls again by itself.
    let mut client = soon(calling).await.unwrap();
    let (mut server, _) = soon(stage.server.accept()).await.unwrap();
    passes(&mut client, &mut server, 1000).await;
    assert_eq!(
        stage.relay.counts().connections,
        2,
        "the relay's own are no client's"
    );
}

#[tokio::test]
async fn a_rebinding_kills_connections_without_a_word() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;
    stage.relay.rebind().await.unwrap();
    let killed = Deed::Killed(Handed {
        upstream_bytes: 1000,
        downstream_bytes: 0,
    });
    soon(stage.relay.receipt(|receipt| receipt.deed == killed)).await;
    client.write_all(&[1]).await.unwrap();
    server.write_all(&[1]).await.unwrap();
    never(server.read(&mut [0])).await;
    never(client.read(&mut [0])).await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;
}

#[tokio::test]
async fn a_path_delays_at_least_as_told_and_never_brings_more_than_its_rate() {
    const RATE: u64 = 8_000_000;
    const SIZE: usize = 300_000;
    let stage = Stage::new().await;
    let delay = Duration::from_millis(80);
    let path = StreamPath {
        rate: Some(BitRate::from_bps(RATE)),
        delay,
        ..StreamPath::default()
    };
    let (mut first, mut second) = (stage.connect().await, stage.connect().await);
    stage.relay.set_stream_path(Direction::Downstream, path);
    // Both share the line.
    let began = Instant::now();
    let mut arrivals = Vec::new();
    let sent = vec![7; SIZE];
    let receive = async |client: &mut TcpStream, arrivals: &mut Vec<(Instant, usize)>| {
        let mut arrived = 0;
        let mut buffer = vec![0; 65_536];
        while arrived < SIZE {
            let size = client.read(&mut buffer).await.unwrap();
            arrivals.push((Instant::now(), size));
            arrived += size;
        }
    };
    let mut others = Vec::new();
    soon(async {
        let (one, other, (), ()) = tokio::join!(
            first.1.write_all(&sent),
            second.1.write_all(&sent),
            receive(&mut first.0, &mut arrivals),
            receive(&mut second.0, &mut others),
        );
        one.unwrap();
        other.unwrap();
    })
    .await;
    arrivals.extend(others);
    arrivals.sort_unstable();
    let mut arrived = 0;
    for (at, size) in arrivals {
        arrived += size;
        let time = Duration::from_secs_f64(f64::from(u32::try_from(arrived).unwrap()) * 8.0 / 8e6);
        assert!(
            at - began >= delay + time,
            "{arrived} bytes after {:?}",
            at - began
        );
    }
    assert_eq!(arrived, 2 * SIZE);
    // Without it they come as before.
    stage
        .relay
        .set_stream_path(Direction::Downstream, StreamPath::default());
    passes(&mut first.1, &mut first.0, SIZE).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_by_closing() {
    let stage = Stage::new().await;
    drop(stage.server);
    let mut client = soon(TcpStream::connect(stage.relay.address()))
        .await
        .unwrap();
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let dead =
        |deed: &Deed| matches!(deed, Deed::UpstreamDead { error } if error.contains("refused"));
    soon(stage.relay.receipt(|receipt| dead(&receipt.deed))).await;
}

#[tokio::test]
async fn a_relay_that_is_closed_leaves_nothing() {
    let stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    let address = stage.relay.address();
    stage.relay.close().await;
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(soon(server.read(&mut [0])).await.unwrap(), 0);
    let refused = soon(TcpStream::connect(address)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // Dropped without a word, all the same.
    let stage = Stage::new().await;
    let (mut client, _server) = stage.connect().await;
    drop(stage.relay);
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_be_relayed_is_refused_with_what_would_be_right() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = RelayConfig::tcp(taken.local_addr().unwrap());
    config.listen = taken.local_addr().unwrap();
    let told = Relay::start(config).unwrap_err().to_string();
    assert!(told.contains("choose a free port"), "{told}");
    for text in [
        "",
        "127.0.0.1",
        "127.0.0.1:",
        ":80",
        "host:0",
        "host:99999",
        "::1:80",
        "[::1]",
    ] {
        let told = Upstream::parse(text).unwrap_err().to_string();
        assert!(told.contains("host:port would be right"), "{text}: {told}");
    }
    for text in ["127.0.0.1:80", "[::1]:80", "localhost:8443"] {
        Upstream::parse(text).unwrap();
    }
}

#[tokio::test]
async fn a_port_goes_from_any_state_to_any_other() {
    let stage = Stage::new().await;
    let states = [Reach::Open, Reach::Refused, Reach::BlackHole];
    for (from, to) in states
        .into_iter()
        .flat_map(|from| states.map(|to| (from, to)))
    {
        stage.relay.set_reach(from).await.unwrap();
        stage.relay.set_reach(to).await.unwrap();
        if to == Reach::Refused {
            let refused = soon(TcpStream::connect(stage.relay.address())).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        let before = stage.relay.counts().connections;
        stage.relay.set_reach(Reach::Open).await.unwrap();
        let (mut client, mut server) = stage.connect().await;
        passes(&mut client, &mut server, 1000).await;
        let taken = stage.relay.counts().connections;
        assert_eq!(taken, before + 1, "{from:?} to {to:?}");
    }
}
