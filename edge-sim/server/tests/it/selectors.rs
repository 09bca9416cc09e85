//! Which requests a fault is for.

use nearcast_appliance::fault::{Fault, FaultRule, FaultSelector, ObjectKind};
use nearcast_protocol::manifest::TrackKind;

use crate::client::{ALL, Client, Protocol};
use crate::fixture::{Fixture, edge, soon};

/// An edge with a title of two tracks.
async fn title() -> Fixture {
    let edge = edge().await;
    for path in [
        "v1/init.mp4",
        "v1/00001.m4s",
        "v1/00002.m4s",
        "v1/00003.m4s",
        "v2/00002.m4s",
        "audio_en/00002.m4s",
        "subs_en/all.vtt",
        "v1/media.m3u8",
        "master.m3u8",
    ] {
        let path = edge.path("media/demo").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, [7; 1000]).unwrap();
    }
    edge
}

fn gone(on: FaultSelector) -> FaultRule {
    FaultRule {
        id: Some("gone".to_owned()),
        fault: Fault::Status {
            status: 410,
            retry_after_s: None,
        },
        on,
    }
}

/// Returns which of all objects are gone.
async fn all_gone(client: &mut Client) -> Vec<&'static str> {
    let mut found = Vec::new();
    for path in [
        "demo/stream.mpd",
        "demo/master.m3u8",
        "demo/v1/media.m3u8",
        "demo/v1/init.mp4",
        "demo/v1/00001.m4s",
        "demo/v1/00002.m4s",
        "demo/v1/00003.m4s",
        "demo/v2/00002.m4s",
        "demo/audio_en/00002.m4s",
        "demo/subs_en/all.vtt",
        "probe",
    ] {
        let answer = soon(client.get(&format!("/{path}"))).await.unwrap();
        match answer.status.as_u16() {
            410 => found.push(path),
            status => assert_eq!(status, 200, "{path}"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_for_what_it_selects_and_its_receipts_say_for_what() {
    let of = |change: fn(&mut FaultSelector)| {
        let mut on = FaultSelector::EVERYTHING;
        change(&mut on);
        on
    };
    let cases: [(FaultSelector, &[&str]); 9] = [
        (
            of(|on| on.object = Some(ObjectKind::Manifest)),
            &["demo/stream.mpd", "demo/master.m3u8"],
        ),
        (
            of(|on| on.object = Some(ObjectKind::Index)),
            &["demo/v1/media.m3u8"],
        ),
        (
            of(|on| on.object = Some(ObjectKind::Init)),
            &["demo/v1/init.mp4"],
        ),
        (
            of(|on| on.object = Some(ObjectKind::Subtitle)),
            &["demo/subs_en/all.vtt"],
        ),
        (of(|on| on.object = Some(ObjectKind::Probe)), &["probe"]),
        (
            of(|on| on.track = Some(TrackKind::Audio)),
            &["demo/audio_en/00002.m4s"],
        ),
        (
            of(|on| on.representation = Some("v2".into())),
            &["demo/v2/00002.m4s"],
        ),
        (
            of(|on| {
                on.object = Some(ObjectKind::Media);
                on.track = Some(TrackKind::Video);
                (on.segment_from, on.segment_to) = (Some(1), Some(1));
            }),
            &["demo/v1/00002.m4s", "demo/v2/00002.m4s"],
        ),
        (of(|on| on.segment_from = Some(2)), &["demo/v1/00003.m4s"]),
    ];
    let edge = title().await;
    for protocol in ALL {
        let mut client = edge.connect(protocol).await;
        for (on, expected) in &cases {
            edge.clear().await;
            let before = edge.edge.receipts().len();
            edge.rule(gone(on.clone())).await;
            let found = all_gone(&mut client).await;
            assert_eq!(&found, expected, "{protocol:?} {on:?}");
            let receipts = &edge.edge.receipts()[before..];
            let paths = receipts.iter().map(|one| one.path.clone().unwrap());
            assert_eq!(paths.collect::<Vec<_>>(), found, "{protocol:?} {on:?}");
            assert!(receipts.iter().all(|one| one.id.as_deref() == Some("gone")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_are_written_as_the_admin_port_takes_them() {
    let edge = title().await;
    let order = r#"{"faults":[{"id":"gone","fault":{"kind":"status","status":410},
        "on":{"object":"media","track":"video","representation":"v1","segment_from":1,"segment_to":2,"count":1}}]}"#;
    let order = serde_json::from_str(order).unwrap();
    edge.edge.apply(order).await.unwrap();
    let mut client = edge.connect(Protocol::H2).await;
    // Once, and then no more.
    assert_eq!(all_gone(&mut client).await, ["demo/v1/00002.m4s"]);
}
