//! The access log says exactly what happened.

use nearcast_appliance::fault::Fault;
use nearcast_edge_server::{AccessEntry, End};

use crate::client::{ALL, Client, Protocol};
use crate::fixture::{MIDDLE, SLOW, after, edge_with, half, soon};

const SEGMENT: &str = "/demo/segment.m4s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_leaves_one_exact_line_in_memory_and_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.jsonl");
    let path = file.clone();
    let edge = edge_with(move |config| config.access_log = Some(path)).await;
    let mut expected = Vec::new();
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let asked = format!("{SEGMENT}?CMCD=bl%3D2000%2Csid%3D%22x%22&other=1");
        let cmcd = Some("bl=2000,sid=\"x\"");
        for (method, asked, headers, path, range, status, cmcd) in [
            (
                "GET",
                asked.as_str(),
                &[("range", "bytes=1000-")][..],
                SEGMENT,
                Some((1000, 299_999)),
                206,
                cmcd,
            ),
            ("HEAD", SEGMENT, &[], SEGMENT, None, 200, None),
            (
                "GET",
                "/missing%20file",
                &[("cmcd-request", "bl=100")],
                "/missing%20file",
                None,
                404,
                Some("bl=100"),
            ),
        ] {
            let answer = soon(client.fetch(method, asked, headers)).await.unwrap();
            let size = answer.body.len();
            expected.push((protocol.name(), method, path, range, status, size, cmcd));
            // One after the other: lines come in the order in which requests end.
            edge.log(expected.len()).await;
        }
    }
    let log = edge.edge.access_log();
    let control = soon(Client::connect(Protocol::Http1, edge.edge.admin_url(), "")).await;
    let told = soon(control.unwrap().get("/control/log")).await.unwrap();
    let got: Vec<_> = log
        .iter()
        .map(|line| {
            assert_eq!((line.appliance.as_str(), line.end), ("a", End::Complete));
            assert!(line.unix_ms > 1_600_000_000_000 && line.at_ms > 0.0);
            assert!(line.duration_ms >= 0.0 && line.playback_id.is_none());
            (
                line.protocol.as_str(),
                line.method.as_str(),
                line.path.as_str(),
                line.first.zip(line.last),
                line.status.unwrap(),
                usize::try_from(line.bytes).unwrap(),
                line.cmcd.as_deref(),
            )
        })
        .collect();
    assert_eq!(got, expected);
    assert_eq!(expected[0].5, 299_000);
    soon(edge.edge.shutdown()).await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(told.body == written.as_bytes());
    let written: Vec<AccessEntry> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(written, log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_cut_off_leave_their_line_too() {
    for protocol in ALL {
        let edge = edge_with(|_| {}).await;
        // The client leaves in the middle of the body.
        edge.fault(SLOW).await;
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        let read = soon(answer.read_at_least(MIDDLE)).await.len();
        drop(answer);
        drop(client);
        let line = edge.log(1).await.pop().unwrap();
        assert_eq!(
            (line.end, line.status),
            (End::Cancelled, Some(200)),
            "{protocol:?}"
        );
        assert!(line.bytes >= u64::try_from(read).unwrap() && line.bytes < 300_000);
        assert!(line.duration_ms > 10.0);

        // The client leaves before there is an answer.
        edge.clear().await;
        let late = Fault::LateFirstByte { delay_ms: 60_000 };
        edge.fault(late.clone()).await;
        let mut client = edge.connect(protocol).await;
        // The receipt comes when the answer begins to be late.
        let is_late = async {
            while edge.edge.receipts().last().unwrap().fault != late {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = client.send("GET", SEGMENT, &[]) => panic!("{}", answer.is_ok()),
            () = soon(is_late) => {}
        }
        drop(client);
        let line = edge.log(2).await.pop().unwrap();
        assert_eq!(
            (line.end, line.status, line.bytes),
            (End::Cancelled, None, 0),
            "{protocol:?}"
        );

        // Faults end the body.
        for (fault, end) in [
            (Fault::Reset, End::Reset),
            (Fault::Truncate, End::Truncated),
        ] {
            edge.clear().await;
            edge.rule(after(fault, half())).await;
            let mut client = edge.connect(protocol).await;
            soon(client.get(SEGMENT)).await.unwrap();
            let lines = if end == End::Reset { 3 } else { 4 };
            let line = edge.log(lines).await.pop().unwrap();
            assert_eq!((line.end, line.bytes), (end, 150_000), "{protocol:?}");
            assert_eq!(line.first.zip(line.last), Some((0, 299_999)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_says_so_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.jsonl");
    let path = file.clone();
    let edge = edge_with(move |config| config.access_log = Some(path)).await;
    edge.fault(Fault::Trickle { rate_bps: 80_000 }).await;
    let mut open = Vec::new();
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let mut answer = soon(client.send("GET", SEGMENT, &[])).await.unwrap();
        soon(answer.read_at_least(1)).await;
        open.push((client, answer));
    }
    soon(edge.edge.shutdown()).await;
    for (client, answer) in open {
        let rest = soon(answer.whole()).await;
        assert!(rest.fail.is_some(), "an end in the middle is no good end");
        drop(client);
    }
    let written = std::fs::read_to_string(&file).unwrap();
    let ends: Vec<End> = written
        .lines()
        .map(|line| serde_json::from_str::<AccessEntry>(line).unwrap().end)
        .collect();
    assert_eq!(ends, [End::Shutdown; 3]);
}
