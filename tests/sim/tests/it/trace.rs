//! Rules over networks and movies small enough to work out by hand.

use nearcast_core::AbrRule;
use nearcast_sim::player;
use nearcast_sim::trace::{
    Cursor, Delivered, Effort, Hindsight, Movie, MovieError, Network, NetworkError, Pace, Period,
    Played, Profile, Progress, Rule, SessionError, Setup, Share, State, Step, Verdict, View,
    optimum, rules, run,
};
use nearcast_units::{BitRate, Rng, Seed};

/// Segments of 4 s; every rung's are of nominal size.
fn movie(ladder: &[f64], segments: usize) -> Movie {
    let sizes: Vec<f64> = ladder.iter().map(|kbps| kbps * 4000.0).collect();
    let text = format!(
        r#"{{"segment_duration_ms":4000,"bitrates_kbps":{ladder:?},"segment_sizes_bits":{:?}}}"#,
        vec![sizes; segments]
    );
    Movie::read(&text).unwrap()
}

fn setup<'a>(profile: Profile, network: &'a Network, movie: &'a Movie) -> Setup<'a> {
    Setup {
        profile,
        network,
        movie,
        segments: movie.segments(),
        cap_ms: match profile {
            Profile::Sabre => 25_000.0,
            Profile::Pensieve => 60_000.0,
        },
        mu: 4.3,
    }
}

fn play(setup: &Setup<'_>, rule: &str) -> Played {
    let make = rules::named(setup.profile, rule).unwrap();
    run(setup, make(setup).as_mut()).unwrap()
}

fn near(ours: f64, expected: f64) {
    assert!((ours - expected).abs() < 1e-9, "{ours}, not {expected}");
}

/// Fetches these rungs in turn.
struct Plan(Vec<usize>);

impl Rule for Plan {
    fn first(&mut self, _view: &View<'_>) -> usize {
        self.0[0]
    }
    fn next(&mut self, view: &View<'_>) -> Step {
        Step::Next {
            rung: self.0[view.index],
            wait_ms: 0.0,
        }
    }
}

#[test]
fn both_forms_of_a_network_are_read() {
    let lines = Network::read("# made\n1000, 2000, 80\n\n500,0,80 # outage\n").unwrap();
    let period = |duration_ms, kbps| Period {
        duration_ms,
        kbps,
        latency_ms: 80.0,
    };
    assert_eq!(
        lines.periods(),
        [period(1000.0, 2000.0), period(500.0, 0.0)]
    );
    // A rate holds since the line before; the first line only says when the recording begins.
    let cooked = Network::read("0.5 9.9\n1.5\t2.0\n2.0 0\n").unwrap();
    assert_eq!(cooked, lines);
}

#[test]
fn what_is_no_network_is_refused_with_line_and_remedy() {
    for (text, told) in [
        ("", "no periods"),
        ("# nothing\n", "no periods"),
        (
            "1000,2000\n",
            "line 1: 2 field(s), not 3 (duration_ms,kbps,latency_ms): \"1000,2000\"",
        ),
        (
            "1000,2000,80\n1000,,80\n",
            "line 2: kbps is missing, not 0 or a number from 0.001 to 1e9",
        ),
        ("1000,NaN,80\n", "line 1: kbps is \"NaN\""),
        ("1000,-1,80\n", "line 1: kbps is -1"),
        ("1000,1e-9,80\n", "line 1: kbps is 0.000000001"),
        (
            "0,2000,80\n",
            "line 1: duration_ms is 0, not a number above 0",
        ),
        (
            "1000,2000,-80\n",
            "line 1: latency_ms is -80, not a number from 0",
        ),
        ("1000,0,80\n", "it never delivers"),
        (
            "0 1\n2 1\n2 1\n",
            "line 3: time_s is \"2\", not a number of seconds above",
        ),
        (
            "0 1\n300 1\n600.5 1\n",
            "line 3: time_s is \"600.5\", not a number of seconds above that of the line before, by at most 300",
        ),
        ("0 1\n2 inf\n", "line 2: rate_mbps is \"inf\""),
        ("0 1 2\n", "line 1: 3 field(s), not 2"),
        ("0 1\n", "no periods"),
    ] {
        let error = Network::read(text).unwrap_err();
        assert!(error.to_string().contains(told), "{text:?}: {error}");
    }
    assert_eq!(Network::new(vec![]), Err(NetworkError::Empty));
}

#[test]
fn what_is_no_movie_is_refused_with_line_and_remedy() {
    let good = "{\"segment_duration_ms\": 4000,\n \"bitrates_kbps\": [300, 750],\n \"segment_sizes_bits\": [\n  [1, 2],\n  [3, 4]]}";
    assert_eq!(Movie::read(good).unwrap().sizes_bits(3), [3.0, 4.0]);
    for (from, to, told) in [
        (
            "4000",
            "0",
            "line 1: segment_duration_ms is 0, not a number above 0",
        ),
        (
            "300, 750",
            "750, 300",
            "line 2: bitrates_kbps[1] is 300 after 750: the ladder ascends",
        ),
        (
            "300, 750",
            "-1, 750",
            "line 2: bitrates_kbps[0] is -1 after 0",
        ),
        ("300, 750", "", "line 2: bitrates_kbps is empty"),
        (
            "[3, 4]",
            "[3]",
            "line 5: segment_sizes_bits[1] has 1 size(s), not 2",
        ),
        (
            "[3, 4]",
            "[3, 0]",
            "line 5: segment_sizes_bits[1][1] is 0, not a number from 1",
        ),
        ("[3, 4]", "[3, null]", "line 5, column"),
        (
            "[\n  [1, 2],\n  [3, 4]]",
            "[]",
            "line 3: segment_sizes_bits is empty",
        ),
        ("bitrates_kbps", "bitrates", "missing field `bitrates_kbps`"),
        (good, "", "line 1, column 0: EOF"),
    ] {
        let error = Movie::read(&good.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(told), "{to:?}: {error}");
    }
    assert!(matches!(
        Movie::read("[]"),
        Err(MovieError::Form { line: 1, .. })
    ));
}

#[test]
fn latency_and_transfers_cross_periods() {
    // 100 ms with latency 200: half of it is over. Of the other half, 400 ms make one: 200 ms more.
    let network = Network::read("100,1000,200\n1000,2000,400\n500,0,400\n").unwrap();
    let mut cursor = Cursor::new(&network, 1.0);
    near(cursor.latency(), 300.0);
    // 800 ms are left at 2000 kbit/s: 1.6 Mbit. Then an outage of 500 ms, and 100 kbit at 1000 in the next round.
    near(cursor.transfer_whole(1_650_000.0), 800.0 + 500.0 + 50.0);
    near(cursor.now_ms(), 1650.0);
    // A round is 2.1 Mbit in 1600 ms: a thousand of them at once.
    near(cursor.transfer_whole(2_100_000.0 * 1000.0), 1_600_000.0);
    cursor.wait(1600.0 * 7.0 + 50.0);
    // At the start of the second period of the round. A look needs both: 50 ms, and 200 kbit, which are 100 ms.
    let look = cursor.transfer(1e9, 200_000.0, 50.0);
    assert_eq!(
        look,
        Share {
            ms: 100.0,
            bits: 200_000.0
        }
    );
    // Enough came after 895 ms; the 950 ms end within the outage.
    let look = cursor.transfer(1e9, 1_790_000.0, 950.0);
    assert_eq!(
        look,
        Share {
            ms: 950.0,
            bits: 1_800_000.0
        }
    );
}

#[test]
fn what_came_is_found_without_walking() {
    let network = Network::read("100,1000,0\n1000,2000,0\n500,0,0\n").unwrap();
    for at_ms in [0.0, 50.0, 100.0, 733.0, 1599.0, 1601.0, 16_000_033.0] {
        let bits = network.delivered_bits(at_ms);
        let mut cursor = Cursor::new(&network, 1.0);
        if bits > 0.0 {
            let walked_ms = cursor.transfer_whole(bits);
            near(network.delivered_at_ms(bits), walked_ms);
        }
    }
    // Half of the second period: 0.1 + 1 Mbit.
    near(network.delivered_bits(600.0), 1_100_000.0);
    near(
        network.delivered_at_ms(2_100_000.0 * 2.0 + 100_000.0),
        3300.0,
    );
}

#[test]
fn a_network_that_began_later_is_the_same_one_later() {
    let network = Network::read("1000,2000,80\n500,0,80\n250,400,20\n").unwrap();
    for begun_ms in [0.0, 300.0, 1000.0, 1600.0, 1750.0, 4000.0] {
        let later = network.begun_at(begun_ms);
        near(later.round_ms(), network.round_ms());
        for at_ms in [0.0, 1.0, 700.0, 1749.0, 5000.0] {
            let came = network.delivered_bits(begun_ms + at_ms) - network.delivered_bits(begun_ms);
            near(later.delivered_bits(at_ms), came);
        }
    }
    assert_eq!(network.begun_at(0.0), network);
}

#[test]
fn a_sabre_session_by_hand() {
    // 2000 kbit/s, latency 100 ms. Rungs 1000 and 4000: a segment takes 0.1 + 2 s or 0.1 + 8 s.
    let network = Network::read("1000,2000,100\n").unwrap();
    let movie = movie(&[1000.0, 4000.0], 4);
    let setup = setup(Profile::Sabre, &network, &movie);
    // Start-up 2.1. Then buffer 4 - 2.1 + 4 = 5.9; then 8.1 s of it: 2.2 s of stall, buffer 4; then 1.9 + 4.
    let played = run(&setup, &mut Plan(vec![0, 0, 1, 0])).unwrap();
    near(played.startup_ms, 2100.0);
    near(played.stall_ms, 2200.0);
    assert_eq!((played.stalls, played.switches()), (1, 2));
    near(played.total_ms, 16_000.0 + 4300.0);
    near(played.mean_kbps(), 1750.0);
    // 1 + 1 + 4 + 1 - 3 - 3 - 4.3 x 4.3
    near(played.qoe(4.3), 1.0 - 18.49);
    near(played.qoe_per_segment(4.3), (1.0 - 18.49) / 4.0);
}

#[test]
fn a_full_buffer_waits_exactly() {
    // Buffer for two segments. The second is asked for at once, the third when 4 s are left of 7.
    let network = Network::read("1000,4000,0\n").unwrap();
    let movie = movie(&[1000.0], 3);
    let mut setup = setup(Profile::Sabre, &network, &movie);
    setup.cap_ms = 8000.0;
    struct Watch(Vec<f64>);
    impl Rule for Watch {
        fn next(&mut self, view: &View<'_>) -> Step {
            self.0.push(view.now_ms);
            Step::Next {
                rung: 0,
                wait_ms: 0.0,
            }
        }
        fn waited(&mut self, _view: &View<'_>, ms: f64) {
            self.0.push(-ms);
        }
    }
    let mut watch = Watch(vec![]);
    run(&setup, &mut watch).unwrap();
    assert_eq!(watch.0, [1000.0, -3000.0, 5000.0]);
}

#[test]
fn a_pensieve_session_by_hand() {
    // 1000 / 0.95 kbit/s recorded are 1000 of payload. Rungs 500, 1000, 2000: 2, 4, 8 s and 80 ms.
    let network = Network::new(vec![Period {
        duration_ms: 1000.0,
        kbps: 1000.0 / 0.95,
        latency_ms: 9999.0,
    }])
    .unwrap();
    let movie = movie(&[500.0, 1000.0, 2000.0], 4);
    let setup = setup(Profile::Pensieve, &network, &movie);
    // The first has rung 1 whatever the plan says: 4.08 s. Then buffer 4 - 2.08 + 4 = 5.92; 8.08 s: 2.16 s of stall,
    // buffer 4; 4.08 s: 0.08 s of stall.
    let played = run(&setup, &mut Plan(vec![0, 0, 2, 1])).unwrap();
    assert_eq!(played.rungs, [1, 0, 2, 1]);
    near(played.startup_ms, 4080.0);
    near(played.stall_ms, 2240.0);
    // 0.5 + 2 + 1, changes 0.5 + 1.5 + 1, over three segments.
    near(played.qoe_per_segment(4.3), (3.5 - 3.0 - 4.3 * 2.24) / 3.0);
}

#[test]
fn a_full_buffer_sleeps_in_halves_of_a_second() {
    let network = Network::new(vec![Period {
        duration_ms: 1000.0,
        kbps: 4000.0 / 0.95,
        latency_ms: 0.0,
    }])
    .unwrap();
    let movie = movie(&[500.0, 1000.0], 3);
    let mut setup = setup(Profile::Pensieve, &network, &movie);
    setup.cap_ms = 6000.0;
    struct Watch(Vec<f64>);
    impl Rule for Watch {
        fn next(&mut self, _view: &View<'_>) -> Step {
            Step::Next {
                rung: 0,
                wait_ms: 0.0,
            }
        }
        fn waited(&mut self, view: &View<'_>, ms: f64) {
            self.0.extend([ms, view.buffer_ms]);
        }
    }
    let mut watch = Watch(vec![]);
    run(&setup, &mut watch).unwrap();
    // 4 - 0.58 + 4 = 7.42, 1.42 too much: 1.5. Then 5.92 - 0.58 + 4 = 9.34: 3.5.
    let expected = [1500.0, 5920.0, 3500.0, 5840.0];
    assert_eq!(watch.0.len(), expected.len());
    for (ours, expected) in watch.0.iter().zip(expected) {
        near(*ours, expected);
    }
}

#[test]
fn bola_goes_up_where_its_formula_says() {
    // Ladder 1 and e: utilities 0 and 1. V = (25 - 4) / 6 = 3.5 s. The second rung is better where
    // (21 - b) / e > 17.5 - b, which is b > (17.5 e - 21) / (e - 1) = 15.463 s. Transfers take 4 ms and 11 ms.
    // Buffers before each: 4, 8 - 0.004, 12 - 0.008, 16 - 0.012.
    let network = Network::read("1000,1000000,0\n").unwrap();
    let movie = movie(&[1000.0, 1000.0 * std::f64::consts::E], 6);
    let played = play(&setup(Profile::Sabre, &network, &movie), "bola-basic");
    assert_eq!(played.rungs, [0, 0, 0, 0, 1, 1]);
}

#[test]
fn bb_goes_in_a_straight_line() {
    // Buffer 5 to 15 s, five rungs above the lowest: one for every 2 s. A transfer at the lowest takes next to nothing.
    // Before each: 4 (the first is forced), 8, 12, 16 s, less 80 ms each.
    let network = Network::read("1000,100000000,0\n").unwrap();
    let movie = movie(&[300.0, 750.0, 1200.0, 1850.0, 2850.0, 4300.0], 5);
    let played = play(&setup(Profile::Pensieve, &network, &movie), "bb");
    // (7.92 - 5) / 2 = 1.46, (11.84 - 5) / 2 = 3.42
    assert_eq!(played.rungs, [1, 0, 1, 3, 5]);
}

#[test]
fn the_throughput_rule_takes_nine_tenths_of_the_rate() {
    // 0.9 x 3000 = 2700 sustains 2000. Short of buffer: a segment must be less than the safety factor, 0.9, 0.81, 0.73,
    // times buffer times rate: 0.9 x 4 s x 3000 = 10.8 Mbit hold the 8 of the second rung.
    let network = Network::read("1000,3000,0\n").unwrap();
    let movie = movie(&[1000.0, 2000.0, 4000.0], 4);
    let played = play(&setup(Profile::Sabre, &network, &movie), "throughput");
    assert_eq!(played.rungs, [0, 1, 1, 1]);
}

/// A rule, and what it chose: when, with which buffer, which rung and after which wait.
struct Noted(Box<dyn Rule>, Vec<[f64; 4]>);

impl Rule for Noted {
    fn first(&mut self, view: &View<'_>) -> usize {
        self.0.first(view)
    }
    fn next(&mut self, view: &View<'_>) -> Step {
        let step = self.0.next(view);
        let (rung, wait_ms) = match step {
            Step::Next { rung, wait_ms } => (f64::from(u32::try_from(rung).unwrap()), wait_ms),
            // Equal to nothing that was worked out: these rules replace nothing.
            Step::Replace { .. } => (f64::NAN, 0.0),
        };
        let noted = [view.now_ms / 1e3, view.buffer_ms / 1e3, rung, wait_ms / 1e3];
        self.1.push(noted);
        step
    }
    fn pace(&self) -> Option<Pace> {
        self.0.pace()
    }
    fn progress(&mut self, view: &View<'_>, progress: &Progress<'_>) -> Verdict {
        self.0.progress(view, progress)
    }
    fn idle(&mut self, view: &View<'_>, wait_ms: f64) -> Option<(usize, usize)> {
        self.0.idle(view, wait_ms)
    }
    fn waited(&mut self, view: &View<'_>, ms: f64) {
        self.0.waited(view, ms);
    }
    fn delivered(&mut self, view: &View<'_>, delivered: &Delivered<'_>) {
        self.0.delivered(view, delivered);
    }
}

/// Plays, and compares every choice with what was worked out.
fn worked_out(setup: &Setup<'_>, rule: &str, choices: &[[f64; 4]]) -> Played {
    let make = rules::named(setup.profile, rule).unwrap();
    let mut noted = Noted(make(setup), Vec::new());
    let played = run(setup, &mut noted).unwrap();
    let same = |(ours, expected): (&[f64; 4], &[f64; 4])| {
        let mut pairs = ours.iter().zip(expected);
        pairs.all(|(ours, expected)| (ours - expected).abs() < 1e-6)
    };
    let as_many = noted.1.len() == choices.len();
    assert!(
        as_many && noted.1.iter().zip(choices).all(same),
        "{:#?}, not {choices:#?}",
        noted.1
    );
    played
}

#[test]
fn a_session_of_the_finite_bola_by_hand() {
    // Rungs 1 and 4 Mbit/s: utilities 0 and ln 4. Seven segments are so short a title that the aim is three segments
    // all along: V = (12 - 4) / (ln 4 + 5) = 1.252683 s. A rung is worth nothing any more at V (utility + 5): 6.263413 s
    // and 8 s. The second one is better where (8 - b) / 4 > 6.263413 - b, which is b > 5.684551 s.
    let network = Network::read("1500,8000,0\n5900,1000,0\n20000,20000,0\n").unwrap();
    let movie = movie(&[1000.0, 4000.0], 7);
    let worthless_s = 8.0 * 5.0 / (4.0_f64.ln() + 5.0);
    let played = worked_out(
        &setup(Profile::Sabre, &network, &movie),
        "bola",
        &[
            // 0.5 s of start-up for 4 Mbit at 8. A buffer of 4 s is less than 5.68: the lowest.
            [0.5, 4.0, 0.0, 0.0],
            // 4 - 0.5 + 4. By the buffer the second rung; 8 Mbit/s sustain its 4.
            [1.0, 7.5, 1.0, 0.0],
            // At 1.5 s 4 of its 16 Mbit are there, and the rate falls to 1. After s more seconds the lowest is better for what
            // is left, (6.263413 - 7 + s) / 4 > (8 - 7 + s) / (12 - s), from 1.869705 s on. Looked at every 50 ms: given up at
            // 1.9 s. Then the buffer is 7 - 1.9, and for the same segment the lowest rung is chosen.
            [3.4, 5.1, 0.0, 0.0],
            // 4 s at 1 Mbit/s: until 7.4 s, when the rate is 20. The buffer is where it was.
            [7.4, 5.1, 0.0, 0.0],
            // 0.2 s. By the buffer the second rung, but the estimate does not sustain it: transfers of 0.5, 0.5, 4 and 0.2 s
            // at 8, 8, 1 and 20 Mbit/s. By the half-life of 3 s they weigh (1 - 2^(-1/3)) 2^(-4.2/3) = 0.078173 for the
            // first two, (1 - 2^(-4/3)) 2^(-0.2/3) = 0.575912 and 1 - 2^(-0.2/3) = 0.045158: (0.625383 + 0.575912 +
            // 0.903168) / 0.699244 = 3.010 Mbit/s. So the lowest, once it is worth something again.
            [7.6, 8.9, 0.0, 8.9 - worthless_s],
            // The same again: the estimate is 3.794 by the half-life of 8 s, and 4.086 by that of 3 s.
            [7.8 + 8.9 - worthless_s, worthless_s + 3.8, 0.0, 3.8],
            // And 4.518 now: the second rung, of which nothing is given up: it is worth less than nothing already.
            [11.8 + 8.9 - worthless_s, worthless_s + 3.8, 1.0, 0.0],
        ],
    );
    assert_eq!(played.rungs, [0, 0, 0, 0, 0, 0, 1]);
    assert_eq!((played.abandoned, played.stalls), (1, 0));
    near(played.wasted_bits, 5.9e6);
    near(played.total_ms, 28_500.0);
    near(played.qoe(4.3), 6.0 + 4.0 - 3.0 - 4.3 * 0.5);
}

#[test]
fn the_finite_bola_aims_lower_near_both_ends() {
    // Utilities 0 and 1. Before there is an estimate nothing is sustained, and from a buffer of 24 s it is waited until the
    // lowest rung is worth something again: until 5 V = 5 (aim - 4) / 6. The aim is half the way to the nearer end, at least
    // three segments and at most the 25 s that the buffer holds.
    let network = Network::read("1000,1000,0\n").unwrap();
    let movie = movie(&[1000.0, 1000.0 * std::f64::consts::E], 40);
    let setup = setup(Profile::Sabre, &network, &movie);
    for (index, aim_s) in [
        (1, 12.0),
        (6, 12.0),
        (8, 16.0),
        (10, 20.0),
        (20, 25.0),
        (32, 16.0),
        (39, 12.0),
    ] {
        let make = rules::named(setup.profile, "bola").unwrap();
        let step = make(&setup).next(&View {
            movie: &movie,
            segments: 40,
            index,
            now_ms: 0.0,
            buffer_ms: 24_000.0,
            cap_ms: setup.cap_ms,
            buffered: &[0; 6],
            played_ms: 0.0,
            last: Some(0),
            mu: setup.mu,
        });
        let Step::Next { rung: 0, wait_ms } = step else {
            panic!("segment {index}: {step:?}");
        };
        near(wait_ms, 24_000.0 - 5.0 * (aim_s * 1e3 - 4_000.0) / 6.0);
    }
}

#[test]
fn a_session_of_bola_u_by_hand() {
    // Utilities 0, ln 2, ln 3, ln 4; buffer 13 s: V = 9 / (ln 4 + 5) = 1.409268 s. Where a rung at k is level with the one above
    // it at l, (V (u + 5) - b) / k = (V (w + 5) - b) / l, b is V (l (u + 5) - k (w + 5)) / (l - k): 6.069510, 6.880354
    // and 7.378318 s. 2500 kbit/s and 0.1 s of latency: segments take 1.7, 3.3, 4.9 and 6.5 s, so that the second rung
    // is sustained and the third is not.
    let network = Network::read("1000,2500,100\n").unwrap();
    let movie = movie(&[1000.0, 2000.0, 3000.0, 4000.0], 8);
    let mut setup = setup(Profile::Sabre, &network, &movie);
    setup.cap_ms = 13_000.0;
    let played = worked_out(
        &setup,
        "bola-u-basic",
        &[
            [1.7, 4.0, 0.0, 0.0],
            // 4 - 1.7 + 4.
            [3.4, 6.3, 1.0, 0.0],
            // 6.3 - 3.3 + 4. By the buffer the third rung: one more than is sustained, and that without a wait.
            [6.7, 7.0, 2.0, 0.0],
            // 7 - 4.9 + 4.
            [11.6, 6.1, 1.0, 0.0],
            [14.9, 6.8, 1.0, 0.0],
            // By the buffer the fourth rung, and yet only one more than is sustained.
            [18.2, 7.5, 2.0, 0.0],
            [23.1, 6.6, 1.0, 0.0],
        ],
    );
    assert_eq!(played.rungs, [0, 0, 1, 2, 1, 1, 2, 1]);
    near(played.stall_ms, 0.0);
    near(played.total_ms, 33_700.0);
    // Rates 16, five changes of 1, start-up 1.7 s.
    near(played.qoe_per_segment(4.3), (16.0 - 5.0 - 7.31) / 8.0);
}

#[test]
fn a_session_of_robust_mpc_by_hand() {
    // Payload of 2000 kbit/s for 2 s, of 500 for 8 s, then of 4000. Segments have 2 and 4 Mbit.
    let network = [(2_000.0, 2000.0), (8_000.0, 500.0), (60_000.0, 4000.0)];
    let network = network.map(|(duration_ms, payload_kbps)| Period {
        duration_ms,
        kbps: payload_kbps / 0.95,
        latency_ms: 0.0,
    });
    let network = Network::new(network.to_vec()).unwrap();
    let movie = movie(&[500.0, 1000.0], 6);
    let played = worked_out(
        &setup(Profile::Pensieve, &network, &movie),
        "rmpc",
        &[
            // The first has the second rung: 2 + 0.08 s, a sample of 4000 / 2.08 = 1923.08 kbit/s. At that no plan of
            // five stalls, and the second rung all along is worth 5, more than any other.
            [2.08, 4.0, 1.0, 0.0],
            // 8.08 s, 4.08 of them of stall; 495.05 kbit/s, and the forecast was off by 1923.08 / 495.05 - 1 = 2.884615 of it.
            // The harmonic mean is 2 / (0.52 + 2.02) = 0.787402 Mbit/s, over 3.884615: 0.202698. A segment of the lowest
            // rung takes 9.867 s then, of the buffer's 4; one of the second 9.867 s more, all of it stall.
            [10.16, 4.0, 0.0, 0.0],
            // 0.58 s; 3448.28 kbit/s. The worst error is still the largest of five: 3 / (0.52 + 2.02 + 0.29) / 3.884615 =
            // 0.272886. The lowest takes 7.329 s, of 7.42; 7.329 s more are as good as all stall.
            [10.74, 7.42, 0.0, 0.0],
            // 4 / (2.83 + 0.29) / 3.884615 = 0.330035: 6.06 and 12.12 s, of 10.84. Both at the lowest stall not: 1. The second
            // rung first stalls for 1.28 s, and second, with 10.84 - 6.06 + 4 s, for 3.34 s.
            [11.32, 10.84, 0.0, 0.0],
            // 5 / (3.12 + 0.29) / 3.884615 = 0.377456: 5.299 and 10.597 s, of 14.26. The second rung is worth 1 - 0.5, the
            // lowest 0.5: of equals the last one.
            [11.9, 14.26, 1.0, 0.0],
        ],
    );
    assert_eq!(played.rungs, [1, 1, 0, 0, 0, 1]);
    near(played.startup_ms, 2_080.0);
    near(played.stall_ms, 4_080.0);
    // Segments 1 to 5: 1 + 3 x 0.5 + 1, two changes of 0.5.
    near(played.qoe_per_segment(4.3), (3.5 - 1.0 - 4.3 * 4.08) / 5.0);
}

#[test]
fn robust_mpc_takes_the_top_of_a_fast_network_and_the_bottom_of_a_slow_one() {
    let movie = movie(&[300.0, 750.0, 1200.0], 6);
    let fast = Network::read("1000,100000,0\n").unwrap();
    let played = play(&setup(Profile::Pensieve, &fast, &movie), "rmpc");
    assert_eq!(played.rungs, [1, 2, 2, 2, 2, 2]);
    let slow = Network::read("1000,320,0\n").unwrap();
    let played = play(&setup(Profile::Pensieve, &slow, &movie), "rmpc");
    assert_eq!(played.rungs, [1, 0, 0, 0, 0, 0]);
}

#[test]
fn every_rule_plays_and_alike_twice() {
    let network = Network::read("3000,4000,80\n2000,0,80\n9000,700,80\n").unwrap();
    let movie = movie(&[300.0, 750.0, 1200.0, 2850.0], 40);
    for profile in [Profile::Sabre, Profile::Pensieve] {
        let setup = setup(profile, &network, &movie);
        for rule in rules::names(profile) {
            let played = play(&setup, rule);
            assert_eq!(played.rungs.len(), 40, "{rule}");
            assert_eq!(played, play(&setup, rule), "{rule}");
        }
    }
}

/// Fetches the lowest rung, and replaces what it may.
#[derive(Default)]
struct Fickle {
    slices_bits: f64,
}

impl Rule for Fickle {
    fn next(&mut self, view: &View<'_>) -> Step {
        let low = view.buffered.iter().skip(1).position(|rung| *rung == 0);
        match low {
            Some(place) if view.buffered.len() > 2 => Step::Replace {
                segment: view.index - view.buffered.len() + 1 + place,
                rung: 1,
            },
            _ => Step::Next {
                rung: 0,
                wait_ms: 0.0,
            },
        }
    }
    fn pace(&self) -> Option<Pace> {
        Some(Pace {
            bits: 0.0,
            ms: 250.0,
        })
    }
    fn progress(&mut self, _view: &View<'_>, progress: &Progress<'_>) -> Verdict {
        assert!(progress.got_bits < progress.size_bits);
        Verdict::Continue
    }
    fn delivered(&mut self, _view: &View<'_>, delivered: &Delivered<'_>) {
        let sliced: f64 = delivered
            .transfer
            .slices
            .iter()
            .map(|slice| slice.bits)
            .sum();
        near(sliced, delivered.transfer.got_bits);
        self.slices_bits += sliced;
    }
}

#[test]
fn replaced_segments_are_played_and_their_first_form_is_wasted() {
    let network = Network::read("1000,8000,0\n").unwrap();
    let movie = movie(&[1000.0, 2000.0], 6);
    let mut rule = Fickle::default();
    let played = run(&setup(Profile::Sabre, &network, &movie), &mut rule).unwrap();
    assert!(
        played.replaced > 0 && played.rungs.contains(&1),
        "{played:?}"
    );
    near(
        played.wasted_bits,
        4e6 * f64::from(u32::try_from(played.replaced).unwrap()),
    );
    // Six at the lowest rung, and what replaced them.
    near(rule.slices_bits, 24e6 + 2.0 * played.wasted_bits);
}

#[test]
fn what_comes_to_no_end_ends_with_a_reason() {
    struct Bad(Step, bool);
    impl Rule for Bad {
        fn next(&mut self, _view: &View<'_>) -> Step {
            self.0
        }
        fn pace(&self) -> Option<Pace> {
            self.1.then_some(Pace {
                bits: 0.0,
                ms: 50.0,
            })
        }
        fn progress(&mut self, _view: &View<'_>, _progress: &Progress<'_>) -> Verdict {
            Verdict::Abandon { instead: None }
        }
    }
    let movie = movie(&[1000.0, 2000.0], 3);
    let network = Network::read("1000,1000,0\n").unwrap();
    let setup = setup(Profile::Sabre, &network, &movie);
    let next = |rung, wait_ms| Step::Next { rung, wait_ms };
    for (mut rule, told) in [
        (
            Bad(next(2, 0.0), false),
            "the rule chose rung 2 after 0 ms, of a ladder of 2",
        ),
        (Bad(next(0, f64::NAN), false), "after NaN ms"),
        (Bad(next(0, -1.0), false), "after -1 ms"),
        (
            Bad(
                Step::Replace {
                    segment: 7,
                    rung: 0,
                },
                false,
            ),
            "segment 7 too often, or when it was not in the buffer",
        ),
        (Bad(next(0, 0.0), true), "segment 1 too often"),
    ] {
        let error = run(&setup, &mut rule).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    // A bit per second.
    let network = Network::read("1000,0.001,0\n").unwrap();
    for profile in [Profile::Sabre, Profile::Pensieve] {
        let setup = Setup {
            profile,
            network: &network,
            ..setup
        };
        let error = run(&setup, &mut Plan(vec![0, 0, 0]));
        assert_eq!(error, Err(SessionError::Stuck { segment: 0 }));
    }
}

#[test]
fn sound_shares_the_line_of_the_player_and_counts_for_nothing_else() {
    // 4 Mbit of picture in each segment. With as much sound 20 segments are 160 Mbit: at 1500 kbit/s 106.7 s, of which
    // the last one's 4 s of play need not have been waited for. Without sound there is a third of the rate to spare.
    let network = Network::read("1000,1500,20\n").unwrap();
    let movie = movie(&[1000.0], 20);
    let setup = setup(Profile::Sabre, &network, &movie);
    let played = |sound| player::play(&setup, sound, AbrRule::Throughput).unwrap();
    let (without, with) = (played(None), played(Some(BitRate::from_kbps(1000))));
    assert!(without.stall_ms < 100.0, "{without:?}");
    assert!(with.total_ms > 106_666.0, "{with:?}");
    assert!(with.stall_ms > 20_000.0, "{with:?}");
    for played in [without, with] {
        near(played.mean_kbps(), 1000.0);
        assert_eq!(played.rungs, [0; 20]);
    }
}

/// Another rate every 1.5 s, low ones more often.
fn restless(rng: &mut Rng) -> Network {
    let periods = (0..12).map(|_| Period {
        duration_ms: 1500.0,
        kbps: 1.0 + 3500.0 * rng.next_f64().powi(2),
        latency_ms: 50.0,
    });
    Network::new(periods.collect()).unwrap()
}

#[test]
fn the_optimum_is_the_best_of_all_paths() {
    let movie = movie(&[300.0, 1200.0, 2850.0], 6);
    let mut rng = Seed::new(11).rng();
    for round in 0..40 {
        let network = restless(&mut rng);
        for profile in [Profile::Sabre, Profile::Pensieve] {
            let mut setup = setup(profile, &network, &movie);
            setup.cap_ms = 12_000.0;
            let paths = (0..3_usize.pow(6)).map(|path| {
                let rungs = (0..6).map(|place| path / 3_usize.pow(place) % 3).collect();
                run(&setup, &mut Plan(rungs))
                    .unwrap()
                    .qoe_per_segment(setup.mu)
            });
            let best = paths.fold(f64::NEG_INFINITY, f64::max);
            let effort = Effort {
                tolerance: 0.0,
                labels: 1000,
            };
            let found = optimum(&setup, effort).unwrap();
            let ours = found.played.qoe_per_segment(setup.mu);
            // The cap makes the rule of dropping labels inexact now and then; see the module.
            assert!(
                ours <= best + 1e-9 && ours > best - 0.01,
                "round {round}, {profile:?}: {ours} of {best}"
            );
        }
    }
}

/// Fetches these rungs in turn, and notes each state that it decides in.
struct Noting(Plan, Vec<State>);

impl Rule for Noting {
    fn first(&mut self, view: &View<'_>) -> usize {
        self.0.first(view)
    }
    fn next(&mut self, view: &View<'_>) -> Step {
        let fetched_ms = 4000.0 * f64::from(u32::try_from(view.index).unwrap());
        self.1.push(State {
            segment: view.index,
            late_ms: view.now_ms - (fetched_ms - view.buffer_ms),
            buffer_ms: view.buffer_ms,
            last: view.last.unwrap(),
        });
        self.0.next(view)
    }
}

#[test]
fn hindsight_knows_what_is_still_to_be_had_and_what_each_choice_lost() {
    let movie = movie(&[300.0, 1200.0, 2850.0], 6);
    let mut rng = Seed::new(12).rng();
    let (mut off, mut largest) = (0.0, 0.0_f64);
    let rounds = 20;
    for round in 0..rounds {
        let network = restless(&mut rng);
        for profile in [Profile::Sabre, Profile::Pensieve] {
            let mut setup = setup(profile, &network, &movie);
            setup.cap_ms = 12_000.0;
            // All paths that begin with the second rung.
            let paths = (0..3_usize.pow(5)).map(|path| {
                let rest = (0..5).map(|place| path / 3_usize.pow(place) % 3);
                let rungs = std::iter::once(1).chain(rest).collect();
                let mut rule = Noting(Plan(rungs), Vec::new());
                let played = run(&setup, &mut rule).unwrap();
                (played, rule.1)
            });
            let paths: Vec<(Played, Vec<State>)> = paths.collect();
            let hindsight = Hindsight::new(&setup, &paths[0].1[0]);
            let first = |played: &Played| match profile {
                Profile::Sabre => 1.2 - setup.mu * played.startup_ms / 1e3,
                Profile::Pensieve => 0.0,
            };
            let gained = |(played, states): &(Played, Vec<State>)| {
                let then = states[1..].iter().copied().chain([State::end(played)]);
                let all = states.iter().zip(then);
                let gains = all.map(|(from, to)| hindsight.gained(from, &to));
                let gained: f64 = gains.sum();
                // All but the first segment.
                near(gained, played.qoe(setup.mu) - first(played));
                gained
            };
            let best = paths.iter().map(gained).fold(f64::NEG_INFINITY, f64::max);
            let apart = (hindsight.value(&paths[0].1[0]) - best).abs() / 5.0;
            off += apart / f64::from(2 * rounds);
            largest = largest.max(apart);
            assert!(apart < 0.3, "round {round}, {profile:?}: {apart}");
        }
    }
    assert!(
        off < 0.05,
        "{off} for each segment on average, {largest} at most"
    );
}
