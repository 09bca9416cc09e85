//! What a way to run scenarios cannot do: it is said, not left out.

use nearcast_appliance::fault::Fault;
use nearcast_scenario::{Doing, Link, Mode, Scenario};

/// Each viewer is a process.
const VIEWERS_MAX: u64 = 8;

/// Returns why a scenario cannot be run this way, if so.
pub(crate) fn unfit(scenario: &Scenario, mode: Mode) -> Option<String> {
    let reason = match mode {
        Mode::Sim => return None,
        Mode::App => everywhere(scenario).or_else(|| app(scenario)),
        Mode::Packet => everywhere(scenario).or_else(|| packet(scenario)),
    };
    let (way, others) = match mode {
        Mode::App => ("app", "sim or packet"),
        Mode::Sim | Mode::Packet => ("packet", "sim or app"),
    };
    reason.map(|reason| {
        format!("{reason}: not for --mode {way}, but for {others}; say so by `modes`")
    })
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
    let chosen = scenario.faults.iter().find(|one| one.on.client.is_some());
    if let Some(fault) = chosen {
        return Some(format!(
            "`{}` selects a client by its name, which tokens do not hold",
            fault.id
        ));
    }
    let names = scenario
        .faults
        .iter()
        .find(|one| matches!(one.fault, Fault::Dns { .. }));
    names.map(|fault| {
        format!(
            "`{}` is about names, and edges have addresses here",
            fault.id
        )
    })
}

fn app(scenario: &Scenario) -> Option<String> {
    let links = scenario.edges.iter().map(|edge| (&*edge.name, &edge.link));
    let mut links = links.chain([("last mile", &scenario.last_mile)]);
    let (name, _) = links.find(|(_, link)| is_of_packets(link))?;
    Some(format!(
        "the link `{name}` does things to packets, which sockets do not show"
    ))
}

/// Whether a link is more than a rate and a delay.
fn is_of_packets(link: &Link) -> bool {
    let spec = &link.spec;
    link.mean_loss().get() > 0.0
        || !link.jitter().is_zero()
        || f64::from(spec.reorder_ratio) > 0.0
        || f64::from(spec.duplicate_ratio) > 0.0
        || spec.queue_bytes.is_some()
        || spec.mtu_bytes.is_some()
        || spec.up.is_some()
}

fn packet(scenario: &Scenario) -> Option<String> {
    if scenario.sessions() > 1 {
        return Some("there is one last mile, and more than one viewer".to_owned());
    }
    let rebinds = scenario
        .actions
        .iter()
        .any(|action| action.doing == Doing::Rebind);
    rebinds.then(|| "there is no address translator".to_owned())
}
