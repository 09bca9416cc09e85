//! The terminal is as before, whatever happened.

use rustix::process::Signal;
use rustix::termios::{LocalModes, Termios};

use crate::pty::{Answer, Run, Setup};

const ENTER: &[u8] = b"\x1b[?1049h";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

fn start() -> Run {
    let mut run = Setup::new(Answer::Plain).start();
    run.wait_for_screen();
    assert!(
        !run.modes().local_modes.contains(LocalModes::ICANON),
        "while it plays, keys come at once"
    );
    run
}

/// What the terminal's modes are made of, comparable.
fn parts(modes: &Termios) -> impl PartialEq + std::fmt::Debug {
    (
        modes.input_modes,
        modes.output_modes,
        modes.control_modes,
        modes.local_modes,
        format!("{:?}", modes.special_codes),
    )
}

/// Asserts that the terminal is as before and returns what was printed on the main screen afterwards.
fn assert_restored(run: &mut Run, from: usize) -> String {
    let left = run.wait_for_text(from, LEAVE);
    assert_eq!(parts(&run.modes()), parts(&run.before));
    String::from_utf8_lossy(&run.output[left + LEAVE.len()..]).into_owned()
}

fn assert_ends(mut run: Run, status: i32, end: &[u8]) {
    assert_eq!(run.wait_for_end(), status);
    run.wait_for_text(0, end);
    run.wait_for_text(0, b"stderr is back");
    let last = run
        .output
        .windows(LEAVE.len())
        .rposition(|window| window == LEAVE);
    let after = assert_restored(&mut run, last.unwrap());
    assert!(after.contains("stderr is back"), "{after}");
    assert!(
        !after.contains('\x1b'),
        "nothing is drawn on the main screen: {after:?}"
    );
    // Between the screens, while it is stopped, standard error is the shell's.
    let text = run.text();
    let screens = text.split("\x1b[?1049h").skip(1);
    let drawn: String = screens
        .filter_map(|rest| rest.split("\x1b[?1049l").next())
        .collect();
    assert!(
        !drawn.contains("stray line"),
        "what libraries print does not reach the screen"
    );
}

#[test]
fn q_ends_and_restores() {
    let mut run = start();
    run.press(b"q");
    assert_ends(run, 0, b"end Quit");
}

#[test]
fn ctrl_c_ends_and_restores() {
    let mut run = start();
    run.press(b"\x03");
    assert_ends(run, 128 + 2, b"end Signal(2)");
}

#[test]
fn sigterm_ends_and_restores() {
    let run = start();
    run.signal(Signal::TERM);
    assert_ends(run, 128 + 15, b"end Signal(15)");
}

#[test]
fn sighup_ends_and_restores() {
    let run = start();
    run.signal(Signal::HUP);
    assert_ends(run, 128 + 1, b"end Signal(1)");
}

#[test]
fn sigint_from_outside_ends_and_restores() {
    let run = start();
    run.signal(Signal::INT);
    assert_ends(run, 128 + 2, b"end Signal(2)");
}

#[test]
fn a_panic_in_any_thread_restores_and_is_read_on_the_main_screen() {
    let mut run = start();
    run.press(b"m");
    assert_eq!(run.wait_for_end(), 101);
    run.wait_for_text(0, b"end Panicked");
    let after = assert_restored(&mut run, 0);
    assert!(after.contains("a thread panicked, as asked"), "{after}");
    assert!(!after.contains('\x1b'), "no frame follows: {after:?}");
}

#[test]
fn ctrl_z_goes_to_the_shell_and_back() {
    let mut run = start();
    run.press(b"\x1a");
    assert_suspends_and_returns(run);
}

#[test]
fn sigtstp_goes_to_the_shell_and_back() {
    let run = start();
    run.signal(Signal::TSTP);
    assert_suspends_and_returns(run);
}

/// What the player's side heard, without what the screen says of its own accord.
fn heard(run: &mut Run) -> String {
    let from = run.wait_for_text(0, b"heard ");
    let line = run.wait_for("the whole line", |output| {
        let line = &output[from + 6..];
        let end = line.iter().position(u8::is_ascii_control)?;
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    });
    let words = line
        .split(' ')
        .filter(|word| ["Pause", "Play", "Continued"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_film_is_held_while_the_shell_has_the_terminal() {
    let mut run = start();
    run.press(b"\x1a");
    run.wait_for_stop();
    let stopped_at = run.output.len();
    run.go_on();
    run.wait_for_text(stopped_at, b"CONTINUED");
    run.press(b"q");
    assert_eq!(run.wait_for_end(), 0);
    assert_eq!(heard(&mut run), "Pause Continued Play");
}

#[test]
fn a_film_that_the_viewer_held_stays_so() {
    let mut run = start();
    run.press(b" ");
    run.wait_for_text(0, b"got Pause");
    run.press(b"\x1a");
    run.wait_for_stop();
    let stopped_at = run.output.len();
    run.go_on();
    run.wait_for_text(stopped_at, b"CONTINUED");
    run.press(b"q");
    assert_eq!(run.wait_for_end(), 0);
    assert_eq!(heard(&mut run), "Pause Continued");
}

#[test]
fn a_terminal_that_takes_nothing_more_does_not_keep_the_program() {
    let mut run = start();
    run.stop_reading();
    run.signal(Signal::TERM);
    assert_eq!(run.wait_for_status(), 128 + 15);
    assert_eq!(parts(&run.modes()), parts(&run.before));
}

fn assert_suspends_and_returns(mut run: Run) {
    run.wait_for_stop();
    assert_restored(&mut run, 0);
    let stopped_at = run.output.len();
    run.go_on();
    let entered = run.wait_for_text(stopped_at, ENTER);
    let title = run.wait_for_text(entered, b"Fixture Title");
    run.wait_for_text(title, b"CONTINUED");
    assert!(!run.modes().local_modes.contains(LocalModes::ICANON));
    run.press(b"q");
    assert_ends(run, 0, b"end Quit");
}

#[test]
fn without_a_shell_ctrl_z_says_so_and_goes_on() {
    let mut run = Setup {
        shell: "no-jobs",
        ..Setup::new(Answer::Plain)
    }
    .start();
    run.wait_for_screen();
    run.press(b"\x1a");
    run.wait_for_text(0, b"there is no shell to go back to");
    run.press(b"q");
    assert_ends(run, 0, b"end Quit");
}

#[test]
fn stopped_from_outside_it_takes_the_terminal_back_when_it_goes_on() {
    let mut run = start();
    let before = run.before.clone();
    rustix::process::kill_process_group(run.group(), Signal::STOP).unwrap();
    run.wait_for_stop();
    // A shell sets its own modes when its job stops.
    run.set_modes(&before);
    let stopped_at = run.output.len();
    run.go_on();
    let entered = run.wait_for_text(stopped_at, ENTER);
    run.wait_for_text(entered, b"Fixture Title");
    assert!(!run.modes().local_modes.contains(LocalModes::ICANON));
    run.press(b"q");
    assert_ends(run, 0, b"end Quit");
}

#[test]
fn a_resize_draws_anew_and_a_tiny_screen_says_so() {
    let mut run = start();
    let from = run.output.len();
    run.resize(30, 6);
    let small = run.wait_for_text(from, b"The screen is");
    run.resize(120, 40);
    run.wait_for_text(small, b"Fixture Title");
    run.press(b"q");
    assert_ends(run, 0, b"end Quit");
}

#[test]
fn keys_typed_before_the_answers_are_heard() {
    let mut run = Setup::new(Answer::PlainAfterQ).start();
    assert_eq!(run.wait_for_end(), 0);
    run.wait_for_text(0, b"end Quit");
    assert_restored(&mut run, 0);
}
