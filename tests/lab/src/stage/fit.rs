//! What a way to run scenarios cannot do: it is said, not left out.

use std::time::Duration;

use nearcast_appliance::fault::Fault;
use nearcast_link::PacketConfig;
use nearcast_scenario::{BackendSpec, Doing, FaultPlan, Link, Mode, Place, Scenario};
use nearcast_units::ByteCount;

/// Each viewer is a process.
const VIEWERS_MAX: u64 = 8;
/// Where all viewers are.
const VIEWERS: &str = "10.0.0.0/8";

/// Returns why a scenario cannot be run this way, if so.
pub(crate) fn unfit(scenario: &Scenario, mode: Mode) -> Option<String> {
    let reason = reason(scenario, mode)?;
    let fits = [Mode::Sim, Mode::App, Mode::Packet].into_iter();
    let fits = fits.filter(|mode| self::reason(scenario, *mode).is_none());
    let fits: Vec<String> = fits.map(|mode| format!("\"{}\"", mode.name())).collect();
    Some(format!(
        "{reason}: not for --mode {}; say so by `modes = [{}]`",
        mode.name(),
        fits.join(", ")
    ))
}

fn reason(scenario: &Scenario, mode: Mode) -> Option<String> {
    match mode {
        Mode::Sim => of_packets(scenario, alters_packets, "a model of flows does not have"),
        Mode::App => everywhere(scenario).or_else(|| app(scenario)),
        Mode::Packet => everywhere(scenario).or_else(|| packet(scenario)),
    }
}

fn everywhere(scenario: &Scenario) -> Option<String> {
    let viewers = scenario.sessions();
    if viewers > VIEWERS_MAX {
        return Some(format!("{viewers} viewers are as many processes"));
    }
    if let Some(edge) = scenario.edges.iter().find(|edge| edge.clock_skew_ms != 0) {
        return Some(format!(
            "the clock of `{}` is wrong, and a machine has one clock",
            edge.name
        ));
    }
    if !scenario.digests {
        return Some("its edges say no digests, which real ones always do".to_owned());
    }
    let mut edges = scenario.edges.iter();
    if let Some(edge) = edges.find(|edge| edge.prefixes != [VIEWERS]) {
        return Some(format!(
            "`{}` serves some viewers, and all have one address",
            edge.name
        ));
    }
    let mut faults = scenario.faults.iter();
    faults.find(|one| one.on.client.is_some()).map(|fault| {
        format!(
            "`{}` selects a client by its name, which tokens do not hold",
            fault.id
        )
    })
}

/// Faults of names.
fn of_names(scenario: &Scenario) -> impl Iterator<Item = &FaultPlan> {
    let faults = scenario.faults.iter();
    faults.filter(|one| matches!(one.fault, Fault::Dns { .. }))
}

fn app(scenario: &Scenario) -> Option<String> {
    let shown = |link: &Link| link.mean_loss().get() > 0.0 || !link.jitter().is_zero();
    let packets = of_packets(
        scenario,
        |link| shown(link) || alters_packets(link),
        "sockets do not show",
    );
    packets.or_else(|| {
        if scenario.backend_delay != Duration::from(BackendSpec::default().delay_ms) {
            return Some("the backend has no link, and is as near as it is".to_owned());
        }
        let some = |one: &&FaultPlan| {
            one.on.count.is_some() || one.on.probability.is_some() || one.place == Place::InUse
        };
        if let Some(fault) = of_names(scenario).find(some) {
            return Some(format!(
                "`{}` is about some questions for names, and a name server of its own answers all about an edge alike",
                fault.id
            ));
        }
        let many = scenario.sessions() > 1;
        (many && rebinds(scenario)).then(|| {
            "all viewers are behind one address translator, and one of them gets other ports"
                .to_owned()
        })
    })
}

/// Tells of the first link that does things to packets.
fn of_packets(scenario: &Scenario, does: impl Fn(&Link) -> bool, who: &str) -> Option<String> {
    let links = scenario.edges.iter().map(|edge| (&*edge.name, &edge.link));
    let mut links = links.chain([("last mile", &scenario.last_mile)]);
    let (name, _) = links.find(|(_, link)| does(link))?;
    Some(format!(
        "the link `{name}` does things to packets, which {who}"
    ))
}

/// Whether a link is more than a rate, a delay, jitter and loss.
fn alters_packets(link: &Link) -> bool {
    let spec = &link.spec;
    f64::from(spec.reorder_ratio) > 0.0
        || f64::from(spec.duplicate_ratio) > 0.0
        || queues_long(link)
        || spec.mtu_bytes.is_some()
        || spec.up.is_some()
}

/// Whether more waits at a link, at its slowest, than does where nothing is said of that. Less is nearer to what sockets do, where nothing waits.
fn queues_long(link: &Link) -> bool {
    let queue = link.spec.queue_bytes.map(ByteCount::from);
    let usual = link.steps.iter().map(|step| {
        let rate = step.link.rate;
        PacketConfig {
            rate,
            ..PacketConfig::default()
        }
        .queue_size()
    });
    queue > usual.min()
}

fn packet(scenario: &Scenario) -> Option<String> {
    if scenario.sessions() > 1 {
        return Some("there is one last mile, and more than one viewer".to_owned());
    }
    if let Some(fault) = of_names(scenario).next() {
        return Some(format!(
            "`{}` is about names, and edges have addresses there",
            fault.id
        ));
    }
    rebinds(scenario).then(|| "there is no address translator".to_owned())
}

fn rebinds(scenario: &Scenario) -> bool {
    let mut actions = scenario.actions.iter();
    actions.any(|action| action.doing == Doing::Rebind)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn scenario(text: &str) -> Scenario {
        let text = format!("version = 1\n{text}");
        Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0)
    }

    #[test]
    fn what_a_way_to_run_cannot_do_is_told() {
        const ONE: &str = "edges = [{ name = \"a\" }]\n";
        assert_eq!(unfit(&scenario(ONE), Mode::App), None);
        assert_eq!(unfit(&scenario(ONE), Mode::Packet), None);
        const PACKETS: Option<&str> = Some("does things to packets");
        for (text, sim, app, packet) in [
            ("last_mile = { jitter_ms = 5 }", None, PACKETS, None),
            ("last_mile = { loss_ratio = 0.1 }", None, PACKETS, None),
            (
                "last_mile = { reorder_ratio = 0.1 }",
                PACKETS,
                PACKETS,
                None,
            ),
            (
                "last_mile = { duplicate_ratio = 0.1 }",
                PACKETS,
                PACKETS,
                None,
            ),
            ("last_mile = { mtu_bytes = 1280 }", PACKETS, PACKETS, None),
            (
                "last_mile = { up = { rate_kbps = 5 } }",
                PACKETS,
                PACKETS,
                None,
            ),
            ("last_mile = { queue_bytes = 100000 }", None, None, None),
            (
                "last_mile = { queue_bytes = 100001 }",
                PACKETS,
                PACKETS,
                None,
            ),
            (
                "last_mile = { queue_bytes = 1000000, steps = [{ lasts_s = 9, rate_kbps = 80000 }, { lasts_s = 9, rate_kbps = 72000 }] }",
                PACKETS,
                PACKETS,
                None,
            ),
            ("backend = { delay_ms = 21 }", None, Some("no link"), None),
            ("backend = { delay_ms = 20 }", None, None, None),
            (
                "title = { digests = false }",
                None,
                Some("no digests"),
                Some("no digests"),
            ),
            (
                "players = [{ count = 3 }]",
                None,
                None,
                Some("one last mile"),
            ),
            (
                "players = [{ count = 9 }]",
                None,
                Some("9 viewers"),
                Some("9 viewers"),
            ),
            (
                "actions = [{ at_s = 1, do = \"rebind\" }]",
                None,
                None,
                Some("no address translator"),
            ),
            (
                "players = [{ count = 2 }]\nactions = [{ at_s = 1, do = \"rebind\" }]",
                None,
                Some("one address translator"),
                Some("one last mile"),
            ),
            (
                "faults = [{ id = \"x\", edge = \"a\", fault = { kind = \"dns\", problem = \"slow\" } }]",
                None,
                None,
                Some("about names"),
            ),
            (
                "faults = [{ edge = \"a\", fault = { kind = \"dns\", problem = \"slow\" }, on = { count = 1 } }]",
                None,
                Some("some questions"),
                Some("about names"),
            ),
            (
                "faults = [{ edge = \"in_use\", fault = { kind = \"dns\", problem = \"slow\" } }]",
                None,
                Some("some questions"),
                Some("about names"),
            ),
        ] {
            let scenario = scenario(&format!("{ONE}{text}"));
            for (mode, expected) in [(Mode::Sim, sim), (Mode::App, app), (Mode::Packet, packet)] {
                let told = unfit(&scenario, mode);
                let holds = match (&told, expected) {
                    (Some(told), Some(expected)) => told.contains(expected),
                    (None, None) => true,
                    _ => false,
                };
                assert!(holds, "{text} {mode:?}: {told:?}");
            }
        }
        let wide = scenario(&format!("{ONE}last_mile = {{ mtu_bytes = 1280 }}"));
        for (mode, says) in [
            (
                Mode::App,
                "packets, which sockets do not show: not for --mode app",
            ),
            (
                Mode::Sim,
                "packets, which a model of flows does not have: not for",
            ),
        ] {
            let told = unfit(&wide, mode).unwrap();
            assert!(told.contains(says), "{told}");
        }
        let jittery = format!("{ONE}last_mile = {{ jitter_ms = 5 }}");
        let told = unfit(&scenario(&jittery), Mode::App).unwrap();
        assert!(
            told.ends_with("say so by `modes = [\"sim\", \"packet\"]`"),
            "{told}"
        );
    }

    #[test]
    fn scenarios_that_are_kept_name_the_ways_they_fit() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut count = 0;
        for mode in [Mode::Sim, Mode::App, Mode::Packet] {
            for scenario in crate::run::kept(std::slice::from_ref(&kept), mode).unwrap() {
                assert_eq!(unfit(&scenario, mode), None, "{} {mode:?}", scenario.name);
                count += 1;
            }
        }
        assert!(count > 400, "{count}");
    }
}
