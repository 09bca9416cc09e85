//! Bodies that are sent in place of others, for servers: the model itself holds none.

extern crate std;

use std::io::Write as _;
use std::sync::LazyLock;
use std::vec::Vec;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What a captive portal shows in place of everything.
pub const PORTAL: &str = "<!doctype html><html lang=\"en\"><title>Welcome</title><h1>Welcome to our network</h1>\
<p>Please accept the terms of use to go on.</p><form method=\"post\" action=\"/login\"><button>Accept</button></form></html>\n";

/// Some 16 kB that become 16 MB: enough to see who unpacks it, and harmless to who does.
#[must_use]
pub fn gzip_bomb() -> &'static [u8] {
    static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer
            .write_all(&std::vec![0; BOMB_BYTES])
            .and_then(|()| packer.finish());
        packed.unwrap_or_default()
    });
    &BOMB
}

const BOMB_BYTES: usize = 16 << 20;
