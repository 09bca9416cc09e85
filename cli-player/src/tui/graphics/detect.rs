//! Asks the terminal what it can show.
//!
//! One write holds all queries, the device attributes last: every terminal answers that one, so its answer
//! says that no more will come. What the user types meanwhile lies between the answers and is kept.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::CellSize;

/// The queries: a kitty picture of one pixel that is only checked, the size of a cell and of the text area
/// in pixels, and the primary device attributes.
pub const QUERY: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[14t\x1b[c";

/// How long all answers together may take. A local terminal needs a few milliseconds; later answers are
/// left out of the keys when they come.
pub const TIMEOUT: Duration = Duration::from_millis(300);

/// What the terminal answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// It shows kitty graphics.
    pub kitty: bool,
    /// It shows sixels.
    pub sixel: bool,
    /// The size of a cell in pixels.
    pub cell: Option<CellSize>,
    /// The size of the text area in pixels: width, height.
    pub text_area: Option<(u16, u16)>,
    /// Whether the last query was answered.
    pub complete: bool,
    /// What was no answer: keys.
    pub typed: Vec<u8>,
}

/// Reads answers from `terminal`, which is in raw mode and was sent [`QUERY`], until the last one is there
/// or `timeout` is over. No answer is not an error.
///
/// # Errors
/// When reading from the terminal fails.
#[expect(
    clippy::disallowed_methods,
    reason = "a deadline for a file descriptor, before the loop and its clock exist"
)]
pub fn read_answers(terminal: impl AsFd, timeout: Duration) -> io::Result<Answers> {
    let deadline = std::time::Instant::now() + timeout;
    let mut scanner = Scanner::default();
    let mut bytes = [0; 512];
    while !scanner.answers.complete {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let Ok(wait) = Timespec::try_from(left) else {
            break;
        };
        if left.is_zero() {
            break;
        }
        let mut ready = [PollFd::new(&terminal, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(&terminal, &mut bytes) {
            Ok(0) => break,
            Ok(count) => scanner.feed(&bytes[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(scanner.finish())
}

/// Separates answers from typing, in pieces of any size.
#[derive(Debug, Default)]
pub struct Scanner {
    answers: Answers,
    state: State,
    sequence: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Csi,
    /// Inside an APC, DCS or OSC string.
    Text,
    TextEscape,
}

/// A longer sequence is none of ours.
const SEQUENCE_MAX: usize = 256;
/// More typing than anybody does in the time.
const TYPED_MAX: usize = 1024;

impl Scanner {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.step(byte);
        }
    }

    /// Returns what was found. A lone escape at the end is the key; a cut-off sequence is left out.
    #[must_use]
    pub fn finish(mut self) -> Answers {
        if self.state == State::Escape {
            self.typed(&[ESC]);
        }
        self.answers
    }

    fn step(&mut self, byte: u8) {
        if self.sequence.len() >= SEQUENCE_MAX {
            self.reset();
        }
        match (self.state, byte) {
            (State::Ground, ESC) => self.state = State::Escape,
            (State::Ground, _) => self.typed(&[byte]),
            (State::Escape, b'[') => self.state = State::Csi,
            (State::Escape, b'_' | b'P' | b']') => {
                self.sequence.push(byte);
                self.state = State::Text;
            }
            (State::Escape, ESC) => self.typed(&[ESC]),
            (State::Escape, _) => {
                self.typed(&[ESC, byte]);
                self.reset();
            }
            (State::Csi, 0x40..=0x7e) => {
                self.csi(byte);
                self.reset();
            }
            (State::Csi, ESC) => {
                self.reset();
                self.state = State::Escape;
            }
            (State::Text, ESC) => self.state = State::TextEscape,
            // An operating system command may end by a bell, too.
            (State::Text, 0x07) if self.sequence.first() == Some(&b']') => self.reset(),
            (State::TextEscape, b'\\') => {
                self.text();
                self.reset();
            }
            (State::Csi | State::Text, _) => self.sequence.push(byte),
            (State::TextEscape, _) => {
                // The string was cut off and something else begins.
                self.reset();
                self.state = State::Escape;
                self.step(byte);
            }
        }
    }

    fn reset(&mut self) {
        self.sequence.clear();
        self.state = State::Ground;
    }

    fn typed(&mut self, bytes: &[u8]) {
        if self.answers.typed.len() < TYPED_MAX {
            self.answers.typed.extend_from_slice(bytes);
        }
    }

    fn text(&mut self) {
        if let Some(reply) = self.sequence.strip_prefix(b"_G") {
            let of_ours = reply
                .split(|byte| matches!(byte, b',' | b';'))
                .any(|key| key == b"i=31");
            self.answers.kitty |= of_ours && reply.ends_with(b";OK");
        }
    }

    fn csi(&mut self, last: u8) {
        match (self.sequence.first(), last) {
            (Some(b'?'), b'c') => {
                self.answers.sixel = numbers(&self.sequence[1..]).any(|attribute| attribute == 4);
                self.answers.complete = true;
            }
            (_, b't') => {
                let mut parameters = numbers(&self.sequence);
                let what = parameters.next();
                let (Some(height), Some(width)) = (parameters.next(), parameters.next()) else {
                    return;
                };
                if width == 0 || height == 0 {
                    return;
                }
                match what {
                    Some(6) => self.answers.cell = Some(CellSize { width, height }),
                    Some(4) => self.answers.text_area = Some((width, height)),
                    _ => {}
                }
            }
            _ => {
                let mut key = vec![ESC, b'['];
                key.append(&mut self.sequence);
                key.push(last);
                self.typed(&key);
            }
        }
    }
}

const ESC: u8 = 0x1b;

fn numbers(parameters: &[u8]) -> impl Iterator<Item = u16> {
    parameters
        .split(|byte| *byte == b';')
        .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Answers {
        let mut scanner = Scanner::default();
        scanner.feed(bytes);
        scanner.finish()
    }

    #[test]
    fn answers_are_told_from_keys_typed_between_them() {
        let bytes = b"q\x1b_Gi=31;OK\x1b\\\x1b[A\x1b[6;18;9t \x1b[4;720;1280t\x1b[?62;4;22c\x1b";
        let whole = scan(bytes);
        assert_eq!(
            whole,
            Answers {
                kitty: true,
                sixel: true,
                cell: Some(CellSize {
                    width: 9,
                    height: 18
                }),
                text_area: Some((1280, 720)),
                complete: true,
                typed: b"q\x1b[A \x1b".to_vec(),
            }
        );
        let mut scanner = Scanner::default();
        for byte in bytes {
            scanner.feed(&[*byte]);
        }
        assert_eq!(
            scanner.finish(),
            whole,
            "the size of the pieces is no matter"
        );
    }

    #[test]
    fn a_refusal_is_no_kitty_and_other_attributes_are_no_sixels() {
        let answers = scan(b"\x1b_Gi=31;ENOTSUP:no\x1b\\\x1b[?64;14;24c");
        assert!(!answers.kitty && !answers.sixel && answers.complete);
        assert!(
            !scan(b"\x1b_Gi=7;OK\x1b\\").kitty,
            "an answer to somebody else"
        );
    }

    #[test]
    fn broken_and_endless_answers_do_no_harm() {
        let mut endless = b"\x1b_G".to_vec();
        endless.extend(std::iter::repeat_n(b'x', 100_000));
        let answers = scan(&endless);
        assert!(!answers.kitty && answers.typed.len() <= TYPED_MAX);
        assert_eq!(scan(b"\x1b[6;0;0t\x1b[6;t\x1b[6;99999;1t").cell, None);
        assert!(
            scan(b"\x1b_Gi=31\x1b[?4c").sixel,
            "a cut-off string ends where the next begins"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let answers = scan(&bytes);
            proptest::prop_assert!(answers.typed.len() <= bytes.len());
        }
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (reader, _writer) = io::pipe().unwrap();
        let answers = read_answers(&reader, Duration::from_millis(20)).unwrap();
        assert_eq!(answers, Answers::default());
    }
}
