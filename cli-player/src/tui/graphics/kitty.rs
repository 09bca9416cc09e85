//! The kitty graphics protocol: RGB, zlib-compressed, in the escape sequence itself.
//!
//! Files and shared memory would be cheaper and do not cross an SSH connection.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use ratatui::layout::Rect;

use crate::tui::picture::Picture;

/// Two image ids take turns: the new picture is placed over the old one before the old one goes, so the
/// cells are never empty.
const IDS: [u32; 2] = [41_001, 41_002];

/// The most base64 that one escape sequence may hold, by the protocol.
const CHUNK: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Kitty {
    shown: Option<u32>,
}

impl Kitty {
    pub(super) fn paint(&mut self, out: &mut Vec<u8>, picture: &Picture, cells: Rect) {
        let Some(data) = compress(picture.rgb()) else {
            return;
        };
        let id = if self.shown == Some(IDS[0]) {
            IDS[1]
        } else {
            IDS[0]
        };
        super::move_to(out, cells);
        let size = picture.size();
        // C=1: the cursor stays; q=2: no answers, they would look like keys.
        let mut keys = format!(
            "a=T,f=24,o=z,s={},v={},i={id},p=1,c={},r={},C=1,q=2,",
            size.width, size.height, cells.width, cells.height
        );
        let mut chunks = data.as_bytes().chunks(CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            let more = u8::from(chunks.peek().is_some());
            out.extend_from_slice(format!("\x1b_G{keys}m={more};").as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\x1b\\");
            keys.clear();
        }
        if let Some(old) = self.shown.replace(id) {
            delete(out, old);
        }
    }

    pub(super) fn clear(&mut self, out: &mut Vec<u8>) {
        if let Some(old) = self.shown.take() {
            delete(out, old);
        }
    }
}

fn delete(out: &mut Vec<u8>, id: u32) {
    out.extend_from_slice(format!("\x1b_Ga=d,d=I,i={id},q=2\x1b\\").as_bytes());
}

fn compress(rgb: &[u8]) -> Option<String> {
    // The fastest level: it halves what the terminal must read, and more does not pay at 30 a second.
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(rgb.len() / 2), Compression::fast());
    encoder.write_all(rgb).ok()?;
    Some(STANDARD.encode(encoder.finish().ok()?))
}
