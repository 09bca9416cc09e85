use alloc::vec;

use nearcast_protocol::play::{HttpProtocol, SiteKind};
use nearcast_units::Ratio;
use proptest::prelude::*;

use super::*;
use nearcast_protocol::appliance::Health;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const BERLIN: (f64, f64) = (52.52, 13.405);
const PARIS: (f64, f64) = (48.857, 2.352);

fn report() -> ApplianceReport {
    ApplianceReport {
        site: "Berlin".to_owned(),
        kind: SiteKind::Isp,
        position_deg: BERLIN,
        base_url: "https://127.0.0.1:9000".to_owned(),
        protocols: vec![HttpProtocol::H2],
        addresses: vec!["127.0.0.1".to_owned()],
        prefixes: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        health: healthy(),
        files: vec!["demo/".to_owned()],
    }
}

fn healthy() -> Health {
    Health {
        load: Ratio::ZERO,
        free_capacity_bps: 1_000_000_000,
        error_rate: Ratio::ZERO,
    }
}

fn prefixes(list: &[&str]) -> ApplianceReport {
    ApplianceReport {
        prefixes: list.iter().map(|&prefix| prefix.to_owned()).collect(),
        ..report()
    }
}

fn loaded(load: f64) -> ApplianceReport {
    ApplianceReport {
        health: Health {
            load: Ratio::new(load).unwrap(),
            ..healthy()
        },
        ..report()
    }
}

fn faulty(error_rate: f64) -> ApplianceReport {
    ApplianceReport {
        health: Health {
            error_rate: Ratio::new(error_rate).unwrap(),
            ..healthy()
        },
        ..report()
    }
}

fn client(address: &str) -> Client<'static> {
    Client {
        address: address.parse().unwrap(),
        position_deg: Some(BERLIN),
        files: "demo/",
        playback_id: "p1",
    }
}

fn steering(reports: &[(&str, ApplianceReport)]) -> Steering {
    let mut steering = Steering::new(&ModelConfig::default());
    for (id, report) in reports {
        steering.handle_report(NOW, id, report).unwrap();
    }
    steering
}

fn ids(ranking: &Ranking) -> Vec<&str> {
    ranking
        .offers
        .iter()
        .map(|offer| offer.id.as_str())
        .collect()
}

fn ranked(reports: &[(&str, ApplianceReport)], client: Client<'_>) -> Vec<String> {
    ids(&steering(reports).rank(NOW, client))
        .into_iter()
        .map(ToOwned::to_owned)
        .collect()
}

fn verdict_of<'a>(ranking: &'a Ranking, id: &str) -> &'a ApplianceVerdict {
    ranking.verdicts.iter().find(|seen| seen.id == id).unwrap()
}

#[test]
fn the_longest_prefix_comes_before_everything_else() {
    let far_and_busy = ApplianceReport {
        position_deg: PARIS,
        ..prefixes(&["10.0.0.0/8", "10.1.0.0/16"])
    };
    let reports = [("near", prefixes(&["10.0.0.0/8"])), ("exact", far_and_busy)];
    assert_eq!(ranked(&reports, client("10.1.2.3")), ["exact", "near"]);
    assert_eq!(ranked(&reports, client("10.2.2.3")), ["near", "exact"]);
}

#[test]
fn ipv6_prefixes_rank_ipv6_clients() {
    let reports = [
        ("wide", prefixes(&["2001:db8::/32", "192.0.2.0/24"])),
        ("narrow", prefixes(&["2001:db8:1::/48"])),
        ("v4", prefixes(&["0.0.0.0/0"])),
    ];
    assert_eq!(
        ranked(&reports, client("2001:db8:1::9")),
        ["narrow", "wide"]
    );
    assert_eq!(ranked(&reports, client("2001:db8:2::9")), ["wide"]);
    assert_eq!(ranked(&reports, client("::ffff:192.0.2.1")), ["wide", "v4"]);
}

#[test]
fn then_the_nearer_comes_first() {
    let paris = ApplianceReport {
        position_deg: PARIS,
        ..report()
    };
    let reports = [("a-paris", paris), ("b-berlin", faulty(0.2))];
    assert_eq!(
        ranked(&reports, client("10.0.0.1")),
        ["b-berlin", "a-paris"]
    );
    let nowhere = Client {
        position_deg: None,
        ..client("10.0.0.1")
    };
    // Without a position the distance does not count, and who answers better comes first.
    assert_eq!(ranked(&reports, nowhere), ["a-paris", "b-berlin"]);
}

#[test]
fn then_who_answers_better_comes_first() {
    let reports = [("a", faulty(0.3)), ("b", loaded(0.8))];
    for playback_id in ["1", "2", "3", "4", "5", "6"] {
        let client = Client {
            playback_id,
            ..client("10.0.0.1")
        };
        assert_eq!(ranked(&reports, client), ["b", "a"]);
    }
}

#[test]
fn clients_come_in_proportion_to_what_is_free() {
    let reports = [("a", loaded(0.0)), ("b", loaded(0.5)), ("c", loaded(0.9))];
    let mut first = [0, 0, 0];
    for n in 0..1_600 {
        let playback_id = format!("playback-{n}");
        let client = Client {
            playback_id: &playback_id,
            ..client("10.0.0.1")
        };
        let order = ranked(&reports, client);
        let place = ["a", "b", "c"].iter().position(|id| order[0] == *id);
        first[place.unwrap()] += 1;
    }
    for (found, expected) in first.into_iter().zip([1_000, 500, 100]) {
        let few = 4 * i32::isqrt(expected);
        assert!(
            (expected - few..=expected + few).contains(&found),
            "{first:?}"
        );
    }
}

#[test]
fn clients_spread_over_equals_and_each_keeps_its_order() {
    let reports = [("a", report()), ("b", report()), ("c", loaded(0.01))];
    let first: Vec<String> = (0..300)
        .map(|n| {
            let playback_id = format!("playback-{n}");
            let client = Client {
                playback_id: &playback_id,
                ..client("10.0.0.1")
            };
            let order = ranked(&reports, client);
            assert_eq!(order, ranked(&reports, client));
            order[0].clone()
        })
        .collect();
    for id in ["a", "b", "c"] {
        let share = first.iter().filter(|seen| *seen == id).count();
        assert!(
            (60..=140).contains(&share),
            "{id} is first for {share} of 300"
        );
    }
}

#[test]
fn the_full_and_the_faulty_come_last_but_are_offered() {
    let full = ApplianceReport {
        health: Health {
            free_capacity_bps: 1000,
            ..healthy()
        },
        ..prefixes(&["10.0.0.1/32"])
    };
    let faulty = ApplianceReport {
        health: Health {
            error_rate: Ratio::new(0.5).unwrap(),
            ..healthy()
        },
        ..prefixes(&["10.0.0.0/24"])
    };
    let reports = [("full", full), ("faulty", faulty), ("good", report())];
    let ranking = steering(&reports).rank(NOW, client("10.0.0.1"));
    assert_eq!(ids(&ranking), ["good", "full", "faulty"]);
    assert!(verdict_of(&ranking, "full").why.contains("full or faulty"));
}

#[test]
fn an_old_report_makes_an_appliance_unusable_and_a_new_one_usable_again() {
    let ttl = ModelConfig::default().report_ttl;
    let mut steering = steering(&[("a", report())]);
    assert_eq!(steering.rank(NOW + ttl, client("10.0.0.1")).offers.len(), 1);
    let late = NOW + ttl + SECOND;
    let ranking = steering.rank(late, client("10.0.0.1"));
    assert!(ranking.offers.is_empty());
    assert_eq!(ranking.verdicts[0].verdict, "report_too_old");
    assert_eq!(ranking.verdicts[0].report_age_ms, 16_000);
    assert_eq!(
        ranking.why_empty(),
        "1 edge is known; 1 has not reported lately: is it running?"
    );
    steering.handle_report(late, "a", &report()).unwrap();
    assert_eq!(steering.rank(late, client("10.0.0.1")).offers.len(), 1);
}

#[test]
fn why_nobody_is_offered_counts_each_fault() {
    let lacks = || ApplianceReport {
        files: vec!["other/".to_owned()],
        ..report()
    };
    let far = || ApplianceReport {
        prefixes: vec!["192.0.2.0/24".to_owned()],
        ..report()
    };
    let why = |reports: &[(&str, ApplianceReport)]| {
        let ranking = steering(reports).rank(NOW, client("10.0.0.1"));
        assert!(ranking.offers.is_empty());
        ranking.why_empty()
    };
    assert!(why(&[]).starts_with("no edge has reported here; start one"));
    assert_eq!(
        why(&[("a", lacks()), ("b", lacks()), ("c", far())]),
        "3 edges are known; 2 have not the title's folder below --root; \
         1 has not this client's network as a --prefix"
    );
}

#[test]
fn an_odd_file_name_costs_an_appliance_nothing_but_that_file() {
    let odd = ApplianceReport {
        files: ["what?.mp4", "/etc/", "a\u{7}", "..", "demo/"]
            .map(str::to_owned)
            .into(),
        ..report()
    };
    let steering = steering(&[("a", odd)]);
    assert_eq!(ids(&steering.rank(NOW, client("10.0.0.1"))), ["a"]);
    let etc = Client {
        files: "etc/",
        ..client("10.0.0.1")
    };
    assert!(steering.rank(NOW, etc).offers.is_empty());
}

#[test]
fn only_appliances_that_store_the_files_are_offered() {
    let other = ApplianceReport {
        files: vec!["demo2/".to_owned(), "dem/".to_owned()],
        ..report()
    };
    let parent = ApplianceReport {
        files: vec!["films/".to_owned()],
        ..report()
    };
    let reports = [("a", report()), ("b", other), ("c", parent)];
    let ranking = steering(&reports).rank(NOW, client("10.0.0.1"));
    assert_eq!(ids(&ranking), ["a"]);
    assert_eq!(verdict_of(&ranking, "b").verdict, "files_missing");
    let film = Client {
        files: "films/demo/",
        ..client("10.0.0.1")
    };
    assert_eq!(ranked(&reports, film), ["c"]);
    // Files beside folders, a folder without its slash, and all there is.
    for (stored, held) in [
        (&["stream.mpd", "demo"][..], true),
        (&[""], true),
        (&["demo.mpd"], false),
        (&["demo/video"], false),
    ] {
        let some = ApplianceReport {
            files: stored.iter().map(|&stored| stored.to_owned()).collect(),
            ..report()
        };
        let offered = ranked(&[("a", some)], client("10.0.0.1"));
        assert_eq!(!offered.is_empty(), held, "{stored:?}");
    }
}

#[test]
fn a_client_outside_all_prefixes_is_not_served() {
    let ranking = steering(&[("a", prefixes(&["10.0.0.0/8"])), ("b", prefixes(&[]))])
        .rank(NOW, client("192.0.2.1"));
    assert!(ranking.offers.is_empty());
    for id in ["a", "b"] {
        assert_eq!(verdict_of(&ranking, id).verdict, "client_not_served");
    }
}

#[test]
fn at_most_ten_are_offered_and_the_rest_is_explained() {
    let reports: Vec<(String, ApplianceReport)> = (0..12)
        .map(|n| (format!("edge-{n:02}"), loaded(f64::from(n) / 12.0)))
        .collect();
    let reports: Vec<(&str, ApplianceReport)> = reports
        .iter()
        .map(|(id, report)| (id.as_str(), report.clone()))
        .collect();
    let ranking = steering(&reports).rank(NOW, client("10.0.0.1"));
    assert_eq!(ranking.offers.len(), 10);
    let ranks: Vec<u32> = ranking.offers.iter().map(|offer| offer.rank).collect();
    assert_eq!(ranks, (0..10).collect::<Vec<u32>>());
    let left = ranking
        .verdicts
        .iter()
        .filter(|seen| seen.verdict == "not_among_best" && seen.rank.is_none())
        .count();
    assert_eq!(left, 2);
}

#[test]
fn a_ranking_explains_itself() {
    let paris = ApplianceReport {
        position_deg: PARIS,
        site: "Paris".to_owned(),
        ..loaded(0.25)
    };
    let missing = ApplianceReport {
        files: vec![],
        ..report()
    };
    let asked = client("10.0.0.1");
    let explanation = steering(&[("a", report()), ("b", paris), ("c", missing)])
        .rank(NOW + SECOND, asked)
        .explain(asked, "10.0.0.0/8".parse().ok());
    insta::assert_json_snapshot!(explanation);
}

#[test]
fn a_report_that_makes_no_sense_is_refused_and_the_earlier_one_stays() {
    let mut steering = steering(&[("a", report())]);
    let mut bad = |change: fn(&mut ApplianceReport)| {
        let mut changed = report();
        change(&mut changed);
        steering.handle_report(NOW, "a", &changed).unwrap_err()
    };
    let field = |error: ReportError| match error {
        ReportError::Bad { field, .. } | ReportError::TooMany { field, .. } => field,
        ReportError::BadId(_) => "id",
        ReportError::TooManyAppliances(_) => "none",
    };
    assert_eq!(
        field(bad(|r| r.prefixes.push("10/8".to_owned()))),
        "prefixes"
    );
    assert_eq!(
        field(bad(|r| r.base_url = "ftp://x".to_owned())),
        "base_url"
    );
    assert_eq!(
        field(bad(|r| r.position_deg = (f64::NAN, 0.0))),
        "position_deg"
    );
    assert_eq!(
        field(bad(|r| r.addresses.push("edge".to_owned()))),
        "addresses"
    );
    assert_eq!(
        field(bad(|r| r.prefixes = vec!["::/0".to_owned(); 1001])),
        "prefixes"
    );
    assert_eq!(
        field(steering.handle_report(NOW, "a/b", &report()).unwrap_err()),
        "id"
    );
    assert_eq!(steering.rank(NOW, client("10.0.0.1")).offers.len(), 1);
}

#[test]
fn when_full_only_silent_appliances_make_room() {
    let config = ModelConfig {
        appliances_max: 2,
        ..ModelConfig::default()
    };
    let mut steering = Steering::new(&config);
    steering.handle_report(NOW, "a", &report()).unwrap();
    let later = NOW + config.report_ttl;
    steering.handle_report(later, "b", &report()).unwrap();
    assert_eq!(
        steering.handle_report(later, "c", &report()),
        Err(ReportError::TooManyAppliances(2))
    );
    steering
        .handle_report(later + SECOND, "c", &report())
        .unwrap();
    assert_eq!(
        ids(&steering.rank(later + SECOND, client("10.0.0.1"))).len(),
        2
    );
}

#[test]
fn distances_are_right() {
    assert_eq!(distance_km(BERLIN, BERLIN), 0);
    let berlin_paris = distance_km(BERLIN, PARIS);
    assert!((870..=885).contains(&berlin_paris), "{berlin_paris} km");
    assert_eq!(distance_km((0.0, 0.0), (0.0, 180.0)), 20_015);
    assert_eq!(distance_km((0.0, 179.5), (0.0, -179.5)), 111);
}

prop_compose! {
    fn any_report()(
        bits in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..4),
        load in 0.0..=1.0_f64,
        errors in 0.0..=1.0_f64,
        free_capacity_bps in 0..20_000_000_u64,
        position_deg in (-90.0..=90.0_f64, -180.0..=180.0_f64),
        stored: bool,
    ) -> ApplianceReport {
        ApplianceReport {
            prefixes: bits
                .into_iter()
                .map(|(bits, length)| format!("{}/{length}", core::net::Ipv4Addr::from_bits(bits)))
                .chain(["0.0.0.0/1".to_owned()])
                .collect(),
            health: Health {
                load: Ratio::new(load).unwrap(),
                error_rate: Ratio::new(errors).unwrap(),
                free_capacity_bps,
            },
            position_deg,
            files: if stored { vec!["demo/".to_owned()] } else { vec![] },
            ..report()
        }
    }
}

proptest! {
    #[test]
    fn a_ranking_is_sorted_complete_and_does_not_depend_on_the_order_of_reports(
        reports in proptest::collection::vec(any_report(), 0..16),
        address: u32,
    ) {
        let reports: Vec<(String, ApplianceReport)> = reports
            .into_iter()
            .enumerate()
            .map(|(n, report)| (format!("e{n}"), report))
            .collect();
        let client = Client {
            address: core::net::Ipv4Addr::from_bits(address).into(),
            ..client("10.0.0.1")
        };
        let mut forward = Steering::new(&ModelConfig::default());
        let mut backward = forward.clone();
        for (id, report) in &reports {
            forward.handle_report(NOW, id, report).unwrap();
        }
        for (id, report) in reports.iter().rev() {
            backward.handle_report(NOW, id, report).unwrap();
        }
        let ranking = forward.rank(NOW, client);
        prop_assert_eq!(&ranking, &backward.rank(NOW, client));
        prop_assert_eq!(ranking.verdicts.len(), reports.len());
        prop_assert!(ranking.offers.len() <= APPLIANCES_MAX);
        let keys: Vec<_> = ranking.verdicts[..ranking.offers.len()]
            .iter()
            .map(|seen| {
                let length = seen.prefix.as_ref().map(|prefix| {
                    prefix.parse::<Prefix>().unwrap().length()
                });
                (seen.impaired, Reverse(length), seen.distance_km)
            })
            .collect();
        prop_assert!(keys.is_sorted(), "{:?}", keys);
    }
}
