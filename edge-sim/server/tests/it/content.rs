//! Good answers, and refusals that are no faults.

use base64::Engine;
use ring::digest::{SHA256, digest};

use crate::client::{ALL, Protocol};
use crate::fixture::{edge, edge_with, segment, soon};

const SEGMENT: &str = "/demo/segment.m4s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_serves_ranges_with_the_right_headers() {
    let edge = edge().await;
    let whole = segment();
    let sha256 = digest(&SHA256, &whole);
    let base64 = base64::engine::general_purpose::STANDARD.encode(sha256);
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        let answer = soon(client.get(SEGMENT)).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        assert!(
            answer.fail.is_none() && answer.body == whole,
            "{protocol:?}"
        );
        assert_eq!(answer.header("content-length"), "300000");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("content-type"), "video/iso.segment");
        assert_eq!(answer.header("repr-digest"), format!("sha-256=:{base64}:"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            answer
                .header("server-timing")
                .starts_with("edge;desc=\"a\";dur=")
        );
        assert!(answer.header("cmsd-dynamic").starts_with("\"a\";etp="));
        let port = edge.edge.base_url().rsplit(':').next().unwrap();
        let alt_svc = format!("h3=\":{}\"; ma=86400", port.trim_end_matches('/'));
        assert_eq!(answer.header("alt-svc"), alt_svc);
        let etag = answer.header("etag").to_owned();
        assert_eq!(etag.len(), 34, "strong, 128 bits: {etag}");

        let part = [("range", "bytes=1000-1999")];
        let answer = soon(client.fetch("GET", SEGMENT, &part)).await.unwrap();
        assert_eq!(answer.status, 206);
        assert_eq!(answer.body, whole[1000..2000]);
        assert_eq!(answer.header("content-range"), "bytes 1000-1999/300000");
        assert_eq!(answer.header("content-length"), "1000");
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("repr-digest"), format!("sha-256=:{base64}:"));

        let beyond = [("range", "bytes=300000-")];
        let answer = soon(client.fetch("GET", SEGMENT, &beyond)).await.unwrap();
        assert_eq!(answer.status, 416);
        assert_eq!(answer.header("content-range"), "bytes */300000");
        assert_eq!(answer.code(), "range_not_satisfiable");

        let answer = soon(client.fetch("HEAD", SEGMENT, &[])).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(answer.header("content-length"), "300000");
        assert_eq!(answer.header("etag"), etag);

        let known = [("if-none-match", etag.as_str())];
        let answer = soon(client.fetch("GET", SEGMENT, &known)).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
        let changed = [("range", "bytes=0-9"), ("if-range", "\"other\"")];
        let answer = soon(client.fetch("GET", SEGMENT, &changed)).await.unwrap();
        assert_eq!(answer.status, 200, "the whole of what has changed");

        let answer = soon(client.get("/demo/empty.vtt")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(answer.header("content-length"), "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_the_root_is_served() {
    let edge = edge().await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        for path in [
            "/",
            "/demo",
            "/demo/",
            "/demo/missing",
            "/../secret",
            "/demo/../../secret",
            "/demo/%2e%2e/%2e%2e/secret",
            "/..%2fsecret",
            "/demo/..%5c..%5csecret",
            "/%2fetc/passwd",
            "//etc/passwd",
            "/demo/link",
            "/demo/segment.m4s%00.mpd",
            "/demo/%zz",
        ] {
            let answer = soon(client.get(path)).await.unwrap();
            assert_eq!(answer.status, 404, "{protocol:?} {path}");
            assert_eq!(answer.code(), "not_found");
        }
        let answer = soon(client.get("/demo/segm%65nt.m4s")).await.unwrap();
        assert_eq!(answer.status, 200, "escapes in names are fine");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_need_no_files_and_have_a_limit() {
    let edge = edge().await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        for (query, size) in [
            ("", 65_536),
            ("?bytes=1000", 1000),
            ("?bytes=99999999", 1_048_576),
            ("?bytes=0", 0),
        ] {
            let answer = soon(client.get(&format!("/probe{query}"))).await.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body.len(), size, "{protocol:?} {query}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let answer = soon(client.get("/probe?bytes=many")).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "bad_probe")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_may_ask_and_others_may_not_write() {
    let edge = edge().await;
    let mut client = edge.connect(Protocol::H2).await;
    let answer = soon(client.fetch("OPTIONS", SEGMENT, &[])).await.unwrap();
    assert_eq!(answer.status, 204);
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("Range")
    );
    let answer = soon(client.fetch("DELETE", SEGMENT, &[])).await.unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_serves_only_what_it_stores_and_plain_http_if_asked() {
    let edge = edge_with(|config| {
        config.stores = Some(vec![String::from("demo/stream")]);
        config.plain = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let plain = edge.edge.plain_url().unwrap().to_owned();
    let mut client = soon(crate::client::Client::connect(Protocol::Http1, &plain, ""))
        .await
        .unwrap();
    let answer = soon(client.get("/demo/stream.mpd")).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, crate::fixture::MPD.as_bytes())
    );
    assert_eq!(answer.header("content-type"), "application/dash+xml");
    assert_eq!(answer.header("alt-svc"), "", "not from a port without TLS");
    let answer = soon(client.get(SEGMENT)).await.unwrap();
    assert_eq!(answer.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_share_an_authority_and_others_are_not_trusted() {
    let authority = nearcast_edge_server::Authority::new().unwrap();
    let one = edge_with(|config| config.authority = Some(authority.clone())).await;
    let two = edge_with(|config| config.authority = Some(authority.clone())).await;
    let other = edge().await;
    assert_eq!(one.edge.ca_pem(), two.edge.ca_pem());
    for protocol in ALL {
        let base = two.edge.base_url();
        let good = crate::client::Client::connect(protocol, base, one.edge.ca_pem());
        assert!(soon(good).await.is_ok());
        let bad = crate::client::Client::connect(protocol, base, other.edge.ca_pem());
        let error = soon(bad).await.err().unwrap();
        assert!(
            error.text.contains("UnknownIssuer") || error.text.contains("BadSignature"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_is_served_at_once_and_its_digest_comes_when_it_is_made() {
    let edge = edge().await;
    let size = 40_000_000;
    let file = std::fs::File::create(edge.path("media/demo/large.mp4")).unwrap();
    file.set_len(size).unwrap();
    let mut client = edge.connect(Protocol::H2).await;
    let path = "/demo/large.mp4";
    let first = soon(client.fetch("HEAD", path, &[])).await.unwrap();
    assert_eq!(first.header("repr-digest"), "");
    let stamp = first.header("etag").to_owned();
    assert!(stamp.starts_with('"') && stamp.len() > 8, "strong: {stamp}");
    let made = soon(async {
        loop {
            let answer = client.fetch("HEAD", path, &[]).await.unwrap();
            if !answer.header("repr-digest").is_empty() {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(made.header("etag"), stamp);
    // Either tag is of these bytes.
    for tag in [&stamp, made.header("etag")] {
        let known = [("if-none-match", tag)];
        let answer = soon(client.fetch("GET", path, &known)).await.unwrap();
        assert_eq!(answer.status, 304, "{tag}");
        let rest = [("if-range", tag), ("range", "bytes=-10")];
        let answer = soon(client.fetch("GET", path, &rest)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.body.len()),
            (206, 10),
            "{tag}"
        );
    }
}
