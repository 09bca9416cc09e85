//! The command line of `nearcast-edge`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use nearcast_edge_server::{Authority, Backend, EdgeConfig, EdgeError};
use nearcast_protocol::play::SiteKind;
use nearcast_units::BitRate;

/// One Nearcast edge appliance: serves the files under a folder over HTTP/1.1, HTTP/2 and HTTP/3 on one port.
///
/// Prints one line with its URLs when it is ready. Ends on Ctrl-C or SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "nearcast-edge", version)]
pub(crate) struct Arguments {
    /// Name of the appliance: 1 to 64 letters, digits, '-', '_' or '.'
    #[arg(long, value_name = "ID", value_parser = id)]
    id: String,
    /// Folder whose files are served: the one above the titles
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Address for HTTPS (TCP) and HTTP/3 (UDP); port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,
    /// Address for plain HTTP/1.1 as well (the backend's --plain has none: it serves without TLS instead)
    #[arg(long, value_name = "ADDR", value_parser = address)]
    plain: Option<SocketAddr>,
    /// Address of the admin port, on loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    admin: SocketAddr,
    /// Host name or address that clients use, if not the one of --listen
    #[arg(long, value_name = "HOST", value_parser = host)]
    host: Option<String>,
    /// URL of the backend to report to; without it no token is asked for
    #[arg(long, value_name = "URL", requires = "secret")]
    backend: Option<String>,
    /// Bootstrap secret for the backend
    #[arg(
        long,
        value_name = "TEXT",
        env = "NEARCAST_EDGE_SECRET",
        hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    secret: Option<String>,
    /// Folder of the certificate authority, shared by all edges that use it; made when missing
    #[arg(long, value_name = "DIR", default_value = "nearcast-ca")]
    ca_dir: PathBuf,
    /// Where it stands, for people
    #[arg(long, value_name = "TEXT")]
    site: Option<String>,
    /// Kind of site: isp or ixp
    #[arg(long, value_name = "KIND", default_value = "isp", value_parser = site_kind)]
    kind: SiteKind,
    /// Where it stands: degrees latitude and longitude
    #[arg(long, value_name = "LAT,LON", default_value = "0,0", value_parser = position, allow_hyphen_values = true)]
    position: (f64, f64),
    /// Clients' network that the backend may send here (repeat for more); without it nobody is sent
    #[arg(long = "prefix", value_name = "CIDR", value_parser = prefix)]
    prefixes: Vec<String>,
    /// Path prefix it stores (repeat for more); without it, everything under the root
    #[arg(long = "store", value_name = "PREFIX")]
    stores: Vec<String>,
    /// What its link passes, as 20mbps, 1500kbps or 800bps
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<BitRate>,
    /// By how much its link delays answers, as 30ms or 1s
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = span)]
    delay: Duration,
    /// What counts as full load
    #[arg(long, value_name = "RATE", default_value = "1000mbps", value_parser = rate)]
    capacity: BitRate,
    /// Drop all datagrams, as a network does that blocks UDP
    #[arg(long)]
    block_udp: bool,
    /// File for one line of JSON per request, appended
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line. An environment variable that is set to nothing is how scripts unset one.
    pub(crate) fn read() -> Self {
        let command = Self::command().mut_args(|argument| {
            let value = argument.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        });
        let matches = command.try_get_matches();
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.unwrap_or_else(|error| with_example(error).exit())
    }

    /// Makes the configuration and the path of the certificate that clients must trust.
    pub(crate) fn into_config(self) -> Result<(EdgeConfig, PathBuf), EdgeError> {
        let authority = Authority::load_or_create(&self.ca_dir)?;
        let mut config = EdgeConfig::new(self.id, self.root);
        config.listen = self.listen;
        config.plain = self.plain;
        config.admin = self.admin;
        config.host = self.host;
        config.authority = Some(authority);
        config.backend = self
            .backend
            .zip(self.secret)
            .map(|(url, secret)| Backend { url, secret });
        if let Some(site) = self.site {
            config.site = site;
        }
        config.kind = self.kind;
        config.position_deg = self.position;
        config.prefixes = self.prefixes;
        config.stores = (!self.stores.is_empty()).then_some(self.stores);
        config.rate = self.rate;
        config.delay = self.delay;
        config.capacity = self.capacity;
        config.udp_blocked = self.block_udp;
        config.access_log = self.access_log;
        Ok((config, self.ca_dir.join("ca.pem")))
    }
}

/// Says what an address looks like where there is none: no parser of values is asked then.
fn with_example(mut error: clap::Error) -> clap::Error {
    let text = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let is_missing = error.kind() == ErrorKind::InvalidValue
        && text(ContextKind::InvalidValue).is_empty()
        && text(ContextKind::InvalidArg).ends_with("<ADDR>");
    if is_missing {
        let tip = ContextValue::StyledStrs(vec![ADDRESS_WANTED.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

const ADDRESS_WANTED: &str = "give an address, as 127.0.0.1:8080";

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| ADDRESS_WANTED.to_owned())
}

fn id(text: &str) -> Result<String, EdgeError> {
    EdgeConfig::check_id(text).map(|()| text.to_owned())
}

/// A name or an address, the latter with or without the brackets of a URL.
fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let why = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            "that is any address, which nobody can connect to; give the one that clients use, or a host name"
        }
        Ok(ip) if ip.is_ipv6() || bare.is_none() => return Ok(text.to_owned()),
        Err(_) if is_name(text) => return Ok(text.to_owned()),
        Err(_) if text.strip_suffix('.').is_some_and(is_name) => {
            "give the host name without the dot at its end"
        }
        Ok(_) | Err(_) => "give a host name or an address, without a port",
    };
    Err(why.to_owned())
}

/// Whether it is a name that DNS can hold. One that ends in a number is taken for an address.
fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| matches!(label.len(), 1..=63) && label.bytes().all(good);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn site_kind(text: &str) -> Result<SiteKind, String> {
    match text {
        "isp" => Ok(SiteKind::Isp),
        "ixp" => Ok(SiteKind::Ixp),
        _ => Err(String::from("give isp or ixp")),
    }
}

fn position(text: &str) -> Result<(f64, f64), String> {
    let parsed = text.split_once(',').and_then(|(latitude, longitude)| {
        let degrees = |text: &str| text.trim().parse::<f64>().ok();
        Some((degrees(latitude)?, degrees(longitude)?))
    });
    parsed
        .filter(|(latitude, longitude)| latitude.abs() <= 90.0 && longitude.abs() <= 180.0)
        .ok_or_else(|| String::from("give latitude and longitude in degrees, as 48.1,11.6"))
}

fn prefix(text: &str) -> Result<String, String> {
    let good = text.split_once('/').is_some_and(|(address, length)| {
        let longest = match address.parse() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= longest)
    });
    good.then(|| text.to_owned())
        .ok_or_else(|| String::from("give an address and a length, as 10.0.0.0/8"))
}

fn rate(text: &str) -> Result<BitRate, String> {
    let units = [("mbps", 1_000_000), ("kbps", 1000), ("bps", 1)];
    let lower = text.to_ascii_lowercase();
    let parsed = units.into_iter().find_map(|(unit, factor)| {
        let number = lower.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
        number.checked_mul(factor)
    });
    parsed
        .map(BitRate::from_bps)
        .ok_or_else(|| String::from("give a rate with its unit, as 20mbps, 1500kbps or 800bps"))
}

fn span(text: &str) -> Result<Duration, String> {
    let parsed = match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => text
            .strip_suffix('s')
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
    };
    parsed.ok_or_else(|| String::from("give a time with its unit, as 30ms or 1s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_their_units() {
        assert_eq!(rate("20mbps"), Ok(BitRate::from_kbps(20_000)));
        assert_eq!(rate("1500 kbps"), Ok(BitRate::from_kbps(1500)));
        assert!(rate("20").is_err() && rate("mbps").is_err() && rate("-1bps").is_err());
        assert_eq!(span("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(span("2s"), Ok(Duration::from_secs(2)));
        assert!(span("30").is_err());
    }

    #[test]
    fn places_and_prefixes_are_checked() {
        assert_eq!(position("-33.9,151.2"), Ok((-33.9, 151.2)));
        assert!(position("91,0").is_err() && position("1").is_err() && position("nan,0").is_err());
        assert!(prefix("10.0.0.0/8").is_ok() && prefix("2001:db8::/32").is_ok());
        assert!(prefix("10.0.0.0/33").is_err() && prefix("10.0.0.0").is_err());
    }

    #[test]
    fn a_host_is_one_that_a_url_can_hold() {
        for good in [
            "localhost",
            "edge-1.Example.test",
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
        ] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "no name",
            "a:80",
            "https://a",
            "a/b",
            "me@a",
            "a..b",
            "ä.test",
            "1.2.3",
            "[::1",
            "[192.0.2.1]",
            "[a]",
            "*",
        ] {
            let why = host(bad).unwrap_err();
            assert!(why.contains("without a port"), "{bad}: {why}");
        }
        for (bad, why) in [
            ("0.0.0.0", "nobody can connect"),
            ("::", "nobody can connect"),
            ("[::]", "nobody can connect"),
            ("a.", "without the dot"),
        ] {
            let told = host(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn an_id_is_one_that_paths_and_logs_can_hold() {
        let longest = "x".repeat(64);
        for good in ["a", "fra-1.ix_2", "..a", &longest] {
            assert!(id(good).is_ok(), "{good}");
        }
        let longer = "x".repeat(65);
        for bad in [
            "",
            " ",
            "a b",
            "a/b",
            "a\n",
            "\u{1b}[31m",
            "ä",
            ".",
            "..",
            &longer,
        ] {
            let error = id(bad).unwrap_err().to_string();
            assert!(error.contains("must be 1 to 64 letters, digits"), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn a_backend_needs_its_secret() {
        let bare = ["nearcast-edge", "--id", "a", "--root", "."];
        assert!(Arguments::try_parse_from(bare).is_ok());
        let without = bare.iter().chain(&["--backend", "http://127.0.0.1:1"]);
        assert!(Arguments::try_parse_from(without).is_err());
    }
}
