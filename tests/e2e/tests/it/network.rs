//! A network of the test's own: a namespace with nothing in it but a loopback, on which answers from some ports are
//! held to a rate by the kernel (`tbf`). Linux only.
//!
//! The simulator's links have no queue, and connections share them evenly. The kernel's lines have one queue each: behind
//! a large body all else waits in it, and when it is full it loses much at once. So that both are alike, each connection
//! may have only a few packets in it.

#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "other systems have no namespaces")
)]

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::program::Program;
use crate::room::Room;

/// Long for a busy machine.
const READY_MAX: Duration = Duration::from_secs(20);
/// The namespace goes with this process, which ends by itself if nobody ends it.
const HOLDS_S: u32 = 600;
/// The kernel limits what one connection has in the queue, but two packets may always be there: so they are small ones. The
/// limit does not hold where the congestion control paces. This one does not, and every kernel has it.
const SHORT_QUEUES: &str = "cd /proc/sys/net/ipv4 && echo reno >tcp_congestion_control && echo 4096 >tcp_limit_output_bytes";
const SMALL_PACKETS: &str = "mtu 1500 gso_max_segs 1";
/// What the kernel counts of a packet: with the headers of Ethernet, IP and TCP.
const PACKET_BYTES: u64 = 1514;
/// What it brings.
const PAYLOAD_BYTES: u64 = 1448;

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Program,
    is_root: bool,
}

impl Network {
    /// Makes a namespace with these lines: ports of 127.0.0.1 whose answers have so many kilobits a second together.
    pub(crate) async fn start(room: &Room, lines: &[(&[u16], u64)]) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let hold = format!("{SHORT_QUEUES} && echo here && exec sleep {HOLDS_S}");
        command.args(["--net", "sh", "-c", &hold]);
        let mut holder = Program::start(room, "network", command);
        holder.line("here", READY_MAX).await;
        let network = Self { holder, is_root };
        let up = format!("ip link set lo up {SMALL_PACKETS}");
        network.run(&up).await;
        network.run("tc qdisc add dev lo root handle 1: htb").await;
        for (class, (ports, kbps)) in (1..).zip(lines) {
            let tbf = tbf(*kbps);
            for line in [
                format!("tc class add dev lo parent 1: classid 1:{class} htb rate 1gbit"),
                format!("tc qdisc add dev lo parent 1:{class} handle 1{class}: {tbf}"),
            ] {
                network.run(&line).await;
            }
            for port in *ports {
                let line = format!(
                    "tc filter add dev lo parent 1: protocol ip u32 match ip sport {port} 0xffff flowid 1:{class}"
                );
                network.run(&line).await;
            }
        }
        network
    }

    /// From now on one of its lines, by its place, has another rate.
    pub(crate) async fn change(&self, place: usize, kbps: u64) {
        let class = place + 1;
        let line = format!(
            "tc qdisc change dev lo parent 1:{class} handle 1{class}: {}",
            tbf(kbps)
        );
        self.run(&line).await;
    }

    /// The same command, inside.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut inside = self.enter();
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        if !self.is_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--net", "--target", &self.holder.pid().to_string()]);
        command
    }

    async fn run(&self, line: &str) {
        let mut command = self.enter();
        // Where systems put `tc` that keep it out of the PATH of those who are not root.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let done = command.args(line.split(' ')).output().await.unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{line}: {told}");
    }
}

/// Returns what bodies have of a rate.
pub(crate) const fn payload_kbps(kbps: u64) -> u64 {
    kbps * PAYLOAD_BYTES / PACKET_BYTES
}

/// Returns how long one packet takes.
pub(crate) const fn packet_time(kbps: u64) -> Duration {
    Duration::from_micros(PACKET_BYTES * 8 * 1000 / kbps)
}

/// A bucket of 10 ms, so that the rate holds from the first moment on and a timer may be late; of two packets at least.
fn tbf(kbps: u64) -> String {
    let bucket_bytes = (kbps * 10 / 8).max(2 * PACKET_BYTES);
    format!("tbf rate {kbps}kbit burst {bucket_bytes}b latency 300ms")
}

/// Whether a server that runs inside listens: from outside nobody can ask it.
pub(crate) fn has_begun(pid_file: &Path) -> bool {
    std::fs::read_to_string(pid_file).is_ok_and(|text| text.ends_with('\n'))
}
