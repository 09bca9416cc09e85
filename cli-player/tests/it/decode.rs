//! Pictures back out of escape sequences, written from the protocols' descriptions.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One kitty graphics command with its payload joined.
#[derive(Debug)]
pub(crate) struct KittyCommand {
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) payload: Vec<u8>,
}

impl KittyCommand {
    pub(crate) fn key(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }

    /// Returns width, height and the RGB bytes of a transmitted picture.
    pub(crate) fn picture(&self) -> (usize, usize, Vec<u8>) {
        assert_eq!(self.key("f"), "24");
        assert_eq!(self.key("o"), "z");
        let mut rgb = Vec::new();
        flate2::read::ZlibDecoder::new(&self.payload[..])
            .read_to_end(&mut rgb)
            .unwrap();
        let side = |key| self.key(key).parse::<usize>().unwrap();
        assert_eq!(rgb.len(), side("s") * side("v") * 3);
        (side("s"), side("v"), rgb)
    }
}

/// Returns all complete kitty commands.
pub(crate) fn kitty(output: &[u8]) -> Vec<KittyCommand> {
    let mut commands: Vec<KittyCommand> = Vec::new();
    let mut open: Option<(BTreeMap<String, String>, String)> = None;
    for body in strings(output, b"\x1b_G") {
        let body = std::str::from_utf8(body).unwrap();
        let (keys, data) = body.split_once(';').unwrap_or((body, ""));
        assert!(data.len() <= 4096, "a chunk holds at most 4096 bytes");
        let keys: BTreeMap<String, String> = keys
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let more = keys.get("m").is_some_and(|more| more == "1");
        let (first, mut joined) = open.take().unwrap_or((keys, String::new()));
        joined.push_str(data);
        if more {
            assert_eq!(
                data.len() % 4,
                0,
                "all chunks but the last are whole base64"
            );
            open = Some((first, joined));
        } else {
            let payload = STANDARD.decode(joined).unwrap();
            commands.push(KittyCommand {
                keys: first,
                payload,
            });
        }
    }
    commands
}

/// A decoded sixel picture; `None` where nothing was drawn.
#[derive(Debug)]
pub(crate) struct SixelPicture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pixels: Vec<Option<[u8; 3]>>,
}

impl SixelPicture {
    pub(crate) fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        self.pixels[y * self.width + x]
    }

    pub(crate) fn holes(&self) -> usize {
        self.pixels.iter().filter(|pixel| pixel.is_none()).count()
    }
}

/// Returns the first complete sixel picture.
pub(crate) fn sixel(output: &[u8]) -> Option<SixelPicture> {
    let body = strings(output, b"\x1bP").into_iter().next()?;
    let start = body.iter().position(|byte| *byte == b'q').unwrap() + 1;
    let mut reader = Reader {
        bytes: &body[start..],
        at: 0,
    };
    assert_eq!(reader.next(), Some(b'"'), "raster attributes come first");
    let raster = reader.numbers();
    let (width, height) = (raster[2], raster[3]);
    let mut pixels = vec![None; width * height];
    let mut palette = BTreeMap::new();
    let (mut x, mut top, mut colour, mut repeat) = (0, 0, 0, 1);
    while let Some(byte) = reader.next() {
        match byte {
            b'#' => match reader.numbers()[..] {
                [register] => colour = register,
                [register, 2, red, green, blue] => {
                    let level = |percent: usize| u8::try_from(percent * 255 / 100).unwrap();
                    palette.insert(register, [red, green, blue].map(level));
                }
                ref other => panic!("a colour of {other:?}"),
            },
            b'!' => repeat = reader.numbers()[0],
            b'$' => x = 0,
            b'-' => (x, top) = (0, top + 6),
            b'?'..=b'~' => {
                for _ in 0..repeat {
                    for bit in (0..6).filter(|bit| (byte - b'?') >> bit & 1 == 1) {
                        assert!(
                            x < width && top + bit < height,
                            "a pixel outside of the raster"
                        );
                        pixels[(top + bit) * width + x] = Some(palette[&colour]);
                    }
                    x += 1;
                }
                repeat = 1;
            }
            other => panic!("byte {other:#x} in a sixel picture"),
        }
    }
    Some(SixelPicture {
        width,
        height,
        pixels,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    fn numbers(&mut self) -> Vec<usize> {
        let rest = &self.bytes[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
        let end = rest
            .iter()
            .position(|byte| !is_part(byte))
            .unwrap_or(rest.len());
        self.at += end;
        let text = std::str::from_utf8(&rest[..end]).unwrap();
        text.split(';')
            .map(|number| number.parse().unwrap())
            .collect()
    }
}

/// Returns the bodies of all complete strings between `begin` and the string terminator.
fn strings<'a>(mut bytes: &'a [u8], begin: &[u8]) -> Vec<&'a [u8]> {
    let mut bodies = Vec::new();
    while let Some(start) = crate::pty::find(bytes, begin) {
        let body = &bytes[start + begin.len()..];
        let Some(end) = crate::pty::find(body, b"\x1b\\") else {
            break;
        };
        bodies.push(&body[..end]);
        bytes = &body[end..];
    }
    bodies
}
