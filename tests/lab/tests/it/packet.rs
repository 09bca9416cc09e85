//! Programs behind a link: in namespaces that the system lets root make, and that it lets anybody make.
//!
//! A machine that allows neither fails these tests, and says what it lacks.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::{refusal, stdout};

const LAB: &str = env!("CARGO_BIN_EXE_nearcast-lab");

/// A folder with a link.
fn room(link: &str) -> TempDir {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("link.toml"), link).unwrap();
    room
}

fn packet(room: &Path) -> Command {
    let mut command = Command::new(LAB);
    command.args(["packet", "--link", "link.toml"]);
    command.current_dir(room).stdin(Stdio::null());
    command
}

/// The same, by somebody who may do nothing outside of a user namespace.
fn packet_without_privileges(room: &Path) -> Command {
    if !geteuid().is_root() {
        return packet(room);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-net_admin,-sys_admin",
        "--inh-caps=-all",
        "--",
    ]);
    command.args([LAB, "packet", "--link", "link.toml"]);
    command.current_dir(room).stdin(Stdio::null());
    command
}

/// Its output goes to files: a pipe would end with the last one that has it, and not with the program.
fn run(mut command: Command, program: &[&str]) -> Output {
    let mut streams = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let [stdout, stderr] = streams.each_ref().map(|file| file.try_clone().unwrap());
    command
        .arg("--")
        .args(program)
        .stdout(stdout)
        .stderr(stderr);
    let status = command.status().unwrap();
    let [stdout, stderr] = streams.each_mut().map(|file| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    });
    Output {
        status,
        stdout,
        stderr,
    }
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A number of the table: of a link, in a direction, in a column.
fn count(told: &str, link: &str, direction: &str, column: usize) -> u64 {
    let mut lines = told.lines().skip_while(|line| !line.starts_with(link));
    let line = lines.find(|line| line.contains(direction)).unwrap();
    let (_, numbers) = line.split_once(direction).unwrap();
    let number = numbers.split_whitespace().nth(column).unwrap();
    number.parse().unwrap()
}

const PASSED: usize = 0;
const BYTES: usize = 1;
const LOST: usize = 2;
const TOO_LARGE: usize = 4;

const FILM_BYTES: u64 = 1_500_000;

/// Adds a web server, with a film, at the far side of the link.
fn serve(command: &mut Command, room: &Path) {
    let film: Vec<u8> = (0..FILM_BYTES)
        .map(|at| ((at * at) >> 9).to_le_bytes()[0])
        .collect();
    fs::write(room.join("film"), film).unwrap();
    let at = room.display();
    let config = format!(
        "user root root; daemon off; master_process off; pid {at}/pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  server {{ listen 10.77.0.1:8000; root {at}; }}
}}
"
    );
    fs::write(room.join("nginx.conf"), config).unwrap();
    // Where systems put it that keep it out of the PATH of those who are not root.
    let line = format!(
        "PATH=$PATH:/usr/sbin:/usr/local/sbin exec nginx -e stderr -p {at} -c {at}/nginx.conf"
    );
    command.args(["--server", &line]);
}

const FETCH: &str = "curl -sS --max-time 60 -o got -w '%{time_total}\n' http://{address}:8000/film && cmp film got && \
     cat /proc/self/uid_map";

/// 4 Mbit/s, of which every fiftieth packet is lost.
const LOSSY: &str = "rate_kbps = 4000\ndelay_ms = 2\nloss_ratio = 0.02\n";

fn fetches_a_film(room: &Path, mut command: Command) -> String {
    serve(&mut command, room);
    let output = run(command, &["sh", "-c", FETCH]);
    let (text, told) = (stdout(&output), told(&output));
    assert!(
        told.contains("server at 10.77.0.1, TCP port 8000"),
        "{told}"
    );
    // Whatever else the machine does: it cannot come sooner than the link lets it.
    let (took_s, map) = text.split_once('\n').unwrap();
    let took_s: f64 = took_s.parse().unwrap();
    assert!(took_s >= 3.0, "{took_s} s for 12 Mbit at 4 Mbit/s");
    let (passed, lost) = (
        count(&told, "last mile", "down", PASSED),
        count(&told, "last mile", "down", LOST),
    );
    assert!(
        count(&told, "last mile", "down", BYTES) > FILM_BYTES,
        "{told}"
    );
    // Of about 1,060 packets 21 are expected; fewer than 5 or more than 48 hardly any seed loses.
    assert!((5..=48).contains(&lost), "{told}");
    assert_eq!(count(&told, "last mile", "up", LOST), 0, "{told}");
    // What came over the last mile came from the server, over a link of its own that does nothing.
    let sent = count(&told, "10.77.0.1", "down", PASSED);
    assert!(sent >= passed + lost, "{told}");
    map.to_owned()
}

#[test]
fn a_transfer_meets_the_link() {
    let room = room(LOSSY);
    fetches_a_film(room.path(), packet(room.path()));
}

#[test]
fn a_transfer_meets_the_link_in_a_user_namespace() {
    let room = room(LOSSY);
    let map = fetches_a_film(room.path(), packet_without_privileges(room.path()));
    let user = geteuid().as_raw().to_string();
    let map: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(map, [&user, &user, "1"]);
}

#[test]
fn what_is_larger_than_the_mtu_does_not_arrive() {
    let room = room("mtu_bytes = 1000\n");
    let mut command = packet(room.path());
    serve(&mut command, room.path());
    let fetch = "curl -s --max-time 2 -o got http://{address}:8000/film; echo $?";
    let output = run(command, &["sh", "-c", fetch]);
    assert_eq!(stdout(&output).trim(), "28", "curl's status for a time-out");
    let told = told(&output);
    assert!(count(&told, "last mile", "down", TOO_LARGE) > 0, "{told}");
}

#[test]
fn a_link_changes_while_it_is_in_use() {
    // Nothing passes in the first second, not even the first packet.
    let room =
        room("steps = [{ lasts_s = 1, rate_kbps = 0 }, { lasts_s = 1, rate_kbps = 20000 }]\n");
    let mut command = packet(room.path());
    serve(&mut command, room.path());
    let began = now();
    stdout(&run(command, &["sh", "-c", FETCH]));
    assert!(
        began.elapsed() >= Duration::from_millis(1_600),
        "{:?}",
        began.elapsed()
    );
}

#[expect(clippy::disallowed_methods, reason = "the program takes real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_programs_exit_status_is_passed_on() {
    let room = room("");
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143)] {
        let output = run(packet(room.path()), &["sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    }
    let output = run(packet(room.path()), &["./no-such-program"]);
    assert_eq!(output.status.code(), Some(127), "{}", told(&output));
}

#[test]
fn nothing_else_is_reached_from_behind_the_link() {
    let room = room("");
    let script = "curl -sS --max-time 5 http://10.77.0.2/; curl -sS --max-time 5 http://192.0.2.1/; echo done";
    let output = run(packet(room.path()), &["sh", "-c", script]);
    assert_eq!(stdout(&output), "done\n");
    let told = told(&output);
    assert!(told.contains("packets went to no server"), "{told}");
    assert_eq!(count(&told, "last mile", "up", PASSED), 0, "{told}");
}

/// A program that leaves another one in the background, says its number and stays; told to end, it ends its own way.
const LINGERING: &str = "trap 'exit 3' TERM; sleep 1000 & echo $!; wait";

fn lingering(room: &Path) -> (Child, Pid) {
    let mut command = packet(room);
    command.args(["--", "sh", "-c", LINGERING]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // One byte at a time: what comes later is read by others.
    let read = BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut line);
    let mut told = String::new();
    if read.unwrap() == 0 {
        let errors = child.stderr.as_mut().unwrap();
        errors.read_to_string(&mut told).unwrap();
    }
    assert!(!line.is_empty(), "it ended before it began: {told}");
    (child, Pid::from_raw(line.trim().parse().unwrap()).unwrap())
}

/// Whether a process runs; one that nobody has asked for its exit status does not.
fn is_running(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn what_runs_behind_the_link_ends_with_it() {
    let room = room("");
    let output = run(
        packet(room.path()),
        &["sh", "-c", "sleep 1000 >&- 2>&- & echo $!"],
    );
    let process = Pid::from_raw(stdout(&output).trim().parse().unwrap()).unwrap();
    assert!(!is_running(process));
    for (signal, code) in [(Signal::TERM, 3), (Signal::INT, 130), (Signal::HUP, 129)] {
        let (mut child, process) = lingering(room.path());
        assert!(is_running(process));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!is_running(process), "{signal:?}");
    }
}

#[test]
fn what_runs_behind_the_link_ends_even_where_the_link_is_killed() {
    let room = room("");
    let (mut child, process) = lingering(room.path());
    child.kill().unwrap();
    // Its output ends when the last one that could write to it has ended.
    let mut output = child.stdout.take().unwrap();
    let (ended, has_ended) = channel();
    thread::spawn(move || ended.send(output.read_to_string(&mut String::new())));
    let end = has_ended.recv_timeout(Duration::from_secs(20));
    child.wait().unwrap();
    assert!(end.is_ok() && !is_running(process), "{end:?}");
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let good = room("");
    let mut silent = packet(good.path());
    silent.args(["--server", "exit 3"]);
    let output = run(silent, &["echo", "ran"]);
    let text = refusal(&output);
    assert!(
        text.contains("`exit 3`") && text.contains("before it listened anywhere"),
        "{text}"
    );
    assert!(output.stdout.is_empty());
    let mut strange = packet(good.path());
    strange.args(["--congestion-control", "hope"]);
    let text = refusal(&run(strange, &["true"]));
    assert!(
        text.contains("\"hope\"") && text.contains("cubic"),
        "{text}"
    );
    let bad = room("rate = 5\n");
    let text = refusal(&run(packet(bad.path()), &["true"]));
    assert!(
        text.contains("link.toml:1: `rate` lacks its unit") && text.contains("rate_kbps"),
        "{text}"
    );
}
