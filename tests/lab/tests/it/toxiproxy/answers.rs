//! What the API answers.

use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::{Driver, Stage};
use crate::relay::{passes, soon};

#[tokio::test]
async fn proxies_are_made_shown_changed_and_removed() {
    let mut stage = Stage::new().await;
    let upstream = stage.server.local_addr().unwrap().to_string();
    let listen = stage.proxy.to_string();
    let shown = |enabled| json!({ "name": "p", "listen": listen, "upstream": upstream, "enabled": enabled });
    assert!(
        stage
            .driver
            .does(json!(["version"]))
            .await
            .as_str()
            .unwrap()
            .contains("\"2.")
    );
    assert_eq!(stage.driver.does(json!(["show", "p"])).await, shown(true));
    assert_eq!(
        stage.driver.does(json!(["all"])).await,
        json!({ "p": shown(true) })
    );

    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 100_000).await;
    let down = json!({ "enabled": false, "listen": listen, "upstream": upstream });
    let down = stage.driver.does(json!(["update", "p", down])).await;
    assert_eq!(down, shown(false));
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let refused = soon(TcpStream::connect(stage.proxy)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    stage.driver.does(json!(["reset"])).await;
    assert_eq!(stage.driver.does(json!(["show", "p"])).await, shown(true));
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;

    // Another server: what stands is dropped, and the next one gets there.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let body = json!({ "upstream": other.local_addr().unwrap().to_string() });
    stage.driver.does(json!(["update", "p", body])).await;
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let mut client = soon(TcpStream::connect(stage.proxy)).await.unwrap();
    let (mut server, _) = soon(other.accept()).await.unwrap();
    passes(&mut server, &mut client, 1000).await;

    stage.driver.does(json!(["remove", "p"])).await;
    assert_eq!(stage.driver.does(json!(["all"])).await, json!({}));
    assert!(soon(TcpStream::connect(stage.proxy)).await.is_err());
}

#[tokio::test]
async fn populating_leaves_alone_what_is_there_and_replaces_what_is_elsewhere() {
    let mut stage = Stage::new().await;
    let upstream = stage.server.local_addr().unwrap().to_string();
    stage
        .add("latency", json!({ "latency": 1 }), json!({}))
        .await;
    let (mut client, mut server) = stage.connect().await;
    let list = json!([
        { "name": "p", "listen": "127.0.0.1:0", "upstream": upstream },
        { "name": "q", "listen": "localhost:0", "upstream": upstream, "enabled": false },
    ]);
    let proxies = stage.driver.does(json!(["populate", list])).await;
    assert_eq!(proxies["p"]["listen"], stage.proxy.to_string());
    assert_eq!(proxies["q"]["enabled"], false);
    passes(&mut client, &mut server, 1000).await;
    let (_, toxics) = stage.driver.asks("GET /proxies/p/toxics", "test", "").await;
    assert_eq!(toxics.as_array().unwrap().len(), 1);

    let list =
        json!([{ "name": "p", "listen": stage.proxy.to_string(), "upstream": "127.0.0.1:1" }]);
    stage.driver.does(json!(["populate", list])).await;
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let (_, proxy) = stage.driver.asks("GET /proxies/p", "test", "").await;
    let shown = json!({
        "name": "p", "listen": stage.proxy.to_string(), "upstream": "127.0.0.1:1", "enabled": true, "toxics": []
    });
    assert_eq!(proxy, shown);

    // One of them cannot be had: those before it are made, and told.
    let taken = stage.server.local_addr().unwrap().to_string();
    let list = json!([
        { "name": "r", "listen": "", "upstream": upstream },
        { "name": "s", "listen": taken, "upstream": upstream },
    ]);
    let (status, told) = stage
        .driver
        .asks("POST /populate", "test", &list.to_string())
        .await;
    assert_eq!((status, &told["status"]), (500, &json!(500)));
    assert_eq!(told["proxies"][0]["name"], "r");
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("choose a free port"),
        "{told}"
    );
}

#[tokio::test]
async fn toxics_of_every_kind_are_made_shown_changed_and_removed() {
    let mut stage = Stage::new().await;
    let kinds = [
        (
            "latency",
            json!({ "latency": 20, "jitter": 5 }),
            json!({ "latency": 30 }),
        ),
        ("bandwidth", json!({ "rate": 1000 }), json!({ "rate": 7 })),
        (
            "slow_close",
            json!({ "delay": 1000 }),
            json!({ "delay": 2000 }),
        ),
        (
            "timeout",
            json!({ "timeout": 1000 }),
            json!({ "timeout": 0 }),
        ),
        (
            "reset_peer",
            json!({ "timeout": 1000 }),
            json!({ "timeout": 1 }),
        ),
        (
            "slicer",
            json!({ "average_size": 64, "size_variation": 32, "delay": 10 }),
            json!({ "average_size": 33 }),
        ),
        (
            "limit_data",
            json!({ "bytes": 4096 }),
            json!({ "bytes": 1 }),
        ),
    ];
    let mut all = Vec::new();
    for (kind, attributes, change) in kinds {
        let mut shown = json!({
            "name": kind, "type": kind, "stream": "upstream", "toxicity": 0.5, "attributes": attributes
        });
        let more = json!({ "stream": "upstream", "toxicity": 0.5 });
        assert_eq!(stage.add(kind, attributes, more).await, shown);
        let (name, value) = change.as_object().unwrap().iter().next().unwrap();
        shown["attributes"][name] = value.clone();
        stage.change(kind, change.clone()).await;
        let toxic = stage.driver.does(json!(["showToxic", "p", kind])).await;
        assert_eq!(
            toxic, shown,
            "an update changes what it names, and leaves the rest"
        );
        all.push(shown);
    }
    let (status, toxics) = stage.driver.asks("GET /proxies/p/toxics", "test", "").await;
    assert_eq!(
        (status, toxics),
        (200, Value::Array(all.clone())),
        "in the order they were made"
    );
    let (_, proxy) = stage.driver.asks("GET /proxies/p", "test", "").await;
    assert_eq!(proxy["toxics"].as_array().unwrap().len(), 7);
    stage.remove("timeout").await;
    let gone = stage
        .driver
        .tries(json!(["showToxic", "p", "timeout"]))
        .await;
    assert!(gone.unwrap_err().contains("404"));
    stage.driver.does(json!(["reset"])).await;
    let (_, toxics) = stage.driver.asks("GET /proxies/p/toxics", "test", "").await;
    assert_eq!(toxics, json!([]));
    // Without a name, a direction or a share it has Toxiproxy's.
    let body = json!({ "type": "latency", "attributes": {} }).to_string();
    let (status, toxic) = stage
        .driver
        .asks("POST /proxies/p/toxics", "test", &body)
        .await;
    let attributes = json!({ "latency": 0, "jitter": 0 });
    let shown = json!({
        "name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": 1.0,
        "attributes": attributes
    });
    assert_eq!((status, toxic), (200, shown));
    let body = json!({ "toxicity": 0.25 }).to_string();
    let patch = "PATCH /proxies/p/toxics/latency_downstream";
    let (status, toxic) = stage.driver.asks(patch, "test", &body).await;
    assert_eq!((status, &toxic["toxicity"]), (200, &json!(0.25)));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_would_be_right() {
    let mut stage = Stage::new().await;
    stage
        .add("latency", json!({ "latency": 1 }), json!({}))
        .await;
    let toxic = "POST /proxies/p/toxics";
    let change = "POST /proxies/p/toxics/latency";
    let listen = stage.proxy;
    let upstream = stage.server.local_addr().unwrap();
    let taken = format!(r#"{{"name":"q","listen":"{upstream}","upstream":"h:1"}}"#);
    for (request, body, status, words) in [
        ("GET /proxies/q", "", 404, "proxy not found: q"),
        ("DELETE /proxies/q", "", 404, "proxy not found"),
        ("POST /proxies/q/toxics", "{}", 404, "proxy not found"),
        ("GET /proxies/p/toxics/q", "", 404, "toxic not found: q"),
        ("DELETE /proxies/p/toxics/q", "", 404, "toxic not found"),
        ("GET /nowhere", "", 404, "/proxies/NAME/toxics"),
        ("PUT /proxies", "", 405, "PUT"),
        ("POST /proxies", "{", 400, "bad request body"),
        (
            "POST /proxies",
            r#"{"upstream":"h:1"}"#,
            400,
            "missing required field: name",
        ),
        (
            "POST /proxies",
            r#"{"name":"q"}"#,
            400,
            "missing required field: upstream",
        ),
        (
            "POST /proxies",
            r#"{"name":"q","upstream":"h"}"#,
            400,
            "host:port would be right",
        ),
        (
            "POST /proxies",
            r#"{"name":"p","upstream":"h:1"}"#,
            409,
            "proxy already exists: p",
        ),
        (
            "POST /proxies",
            r#"{"name":"q","upstream":"h:1","listen":"x"}"#,
            400,
            "127.0.0.1:0",
        ),
        ("POST /proxies", &taken, 500, "choose a free port"),
        (
            "POST /populate",
            r#"[{"name":"q","upstream":"h:1"},{"name":"r"}]"#,
            400,
            "upstream at proxy 2",
        ),
        (
            toxic,
            r#"{"type":"latncy"}"#,
            400,
            "invalid toxic type: there is no \"latncy\"; one of latency,",
        ),
        (toxic, r#"{"type":"latency"}"#, 200, ""),
        (
            toxic,
            r#"{"type":"latency"}"#,
            409,
            "toxic already exists: latency_downstream",
        ),
        (
            toxic,
            r#"{"type":"latency","stream":"up"}"#,
            400,
            "stream was invalid, can be either",
        ),
        (
            toxic,
            r#"{"type":"latency","toxicity":2}"#,
            400,
            "0.0 to 1.0 would be right",
        ),
        (
            toxic,
            r#"{"type":"bandwidth","attributes":{"rate":-5}}"#,
            400,
            "\"rate\" is -5; a whole number of KB/s",
        ),
        (
            toxic,
            r#"{"type":"bandwidth","attributes":{"rate":"5"}}"#,
            400,
            "would be right",
        ),
        (
            toxic,
            r#"{"type":"latency","attributes":{"latancy":5}}"#,
            400,
            "latency, jitter would be right",
        ),
        (
            toxic,
            r#"{"type":"slicer","attributes":{}}"#,
            400,
            "from 1 on would be right",
        ),
        (
            toxic,
            r#"{"type":"slicer","attributes":{"average_size":5,"size_variation":5}}"#,
            400,
            "less than average_size",
        ),
        (
            change,
            r#"{"attributes":{"latency":1.5}}"#,
            400,
            "\"latency\" is 1.5; a whole number of milliseconds",
        ),
    ] {
        let (got, told) = stage.driver.asks(request, "test", body).await;
        assert_eq!(got, status, "{request} {body}: {told}");
        if status != 200 {
            assert_eq!(told["status"], status);
            let error = told["error"].as_str().unwrap();
            assert!(error.contains(words), "{request} {body}: {error}");
        }
    }
    // The library tells of them, and nothing was changed by any.
    let again = json!({ "name": "p", "listen": listen.to_string(), "upstream": "h:1" });
    let twice = stage.driver.tries(json!(["create", again])).await;
    assert!(twice.unwrap_err().contains("409"));
    let (_, all) = stage.driver.asks("GET /proxies", "test", "").await;
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["p"]);
    assert_eq!(all["p"]["toxics"][0]["attributes"]["latency"], 1);
}

#[tokio::test]
async fn a_page_in_a_browser_is_kept_out() {
    let driver = Driver::start().await;
    let (status, told) = driver.asks("POST /reset", "Mozilla/5.0", "").await;
    assert_eq!((status, &told["status"]), (403, &json!(403)));
    assert_eq!(driver.asks("POST /reset", "curl/8", "").await.0, 204);
}

#[tokio::test]
async fn the_program_ends_when_it_is_told_to_with_all_its_connections() {
    let mut stage = Stage::new().await;
    let (mut client, mut server) = stage.connect().await;
    passes(&mut client, &mut server, 1000).await;
    // One that has begun to ask, and never ends: it is not waited for.
    let mut asking = TcpStream::connect(stage.driver.api).await.unwrap();
    asking
        .write_all(b"GET /version HTTP/1.1\r\n")
        .await
        .unwrap();
    let id = stage.driver.relay.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .arg(id)
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(soon(server.read(&mut [0])).await.unwrap(), 0);
    assert!(soon(stage.driver.relay.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(["relay", "--api", &taken.local_addr().unwrap().to_string()])
        .output();
    let output = soon(output).await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("choose a free port by --api") && told.contains("in use"),
        "{told}"
    );
}
