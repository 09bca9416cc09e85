//! Arguments that say where from and over which network; shared by the commands that reach out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use nearcast_player::{BackendOptions, BitRate, HttpVersion, Network, NetworkOptions, PlayerError};

use super::settings::{Settings, device_id};
use super::{Context, Failure, say};

/// How the network is used.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NetworkArguments {
    /// Use this version of HTTP only
    #[arg(long, value_enum)]
    pub(crate) http: Option<HttpChoice>,
    /// Fixed address of a host, instead of a name look-up
    #[arg(long, value_name = "HOST:ADDR", value_parser = parse_resolve)]
    pub(crate) resolve: Vec<(String, IpAddr)>,
    /// Accept any certificate: for trying things out only
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Trust this certificate authority too (PEM)
    #[arg(long, value_name = "FILE", env = "NEARCAST_CA")]
    pub(crate) ca: Vec<PathBuf>,
    /// Send this header to edges and backend
    #[arg(long, value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(crate) header: Vec<(String, String)>,
    /// Send this user agent
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,
    /// Go through this HTTP proxy (it must allow CONNECT)
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
}

/// Versions of HTTP by the names that reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpChoice {
    /// HTTP/3
    H3,
    /// HTTP/2
    H2,
    /// HTTP/1.1
    Http1,
}

impl HttpChoice {
    /// Returns what the SDK calls it.
    pub(crate) const fn version(self) -> HttpVersion {
        match self {
            Self::H3 => HttpVersion::H3,
            Self::H2 => HttpVersion::H2,
            Self::Http1 => HttpVersion::Http1,
        }
    }
}

/// Which backend, and who asks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BackendArguments {
    /// The backend's URL
    #[arg(long, value_name = "URL", env = "NEARCAST_BACKEND", value_parser = parse_url)]
    pub(crate) backend: Option<String>,
    /// The account's name at the backend, `demo` unless said
    #[arg(long, value_name = "NAME", env = "NEARCAST_ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Pretend to be at this address (a backend on this machine believes it)
    #[arg(long, value_name = "ADDR")]
    pub(crate) client_address: Option<IpAddr>,
    /// Pretend to be this platform
    #[arg(long, value_name = "NAME")]
    pub(crate) platform: Option<String>,
}

/// The account that a backend has when nobody gave it any.
const ACCOUNT: &str = "demo";

impl NetworkArguments {
    /// Makes the network, with what a backend is to believe; says so where it is to be careless.
    pub(crate) fn network(
        &self,
        context: &Context,
        backend: Option<&BackendArguments>,
    ) -> Result<Network, Failure> {
        if self.insecure {
            say(
                "nearcast: WARNING: --insecure accepts any certificate: whoever is in between can read and change everything",
            );
        }
        let mut files: Vec<_> = self.ca.iter().map(|path| (path, "--ca".into())).collect();
        if files.is_empty() {
            let from = Settings::path().unwrap_or_default();
            let from = format!("ca in {}", from.display());
            files.extend(context.settings.ca.iter().map(|path| (path, from.clone())));
        }
        let mut options = NetworkOptions {
            user_agent: self.user_agent.clone(),
            headers: self.header.clone(),
            extra_ca_pem: Vec::new(),
            insecure: self.insecure,
            resolve: self.resolve.clone(),
            http: self.http.map(HttpChoice::version),
            proxy: self.proxy.clone(),
            ..NetworkOptions::default()
        };
        if let Some(address) = backend.and_then(|backend| backend.client_address) {
            let header = ("Nearcast-Client-Address".to_owned(), address.to_string());
            options.headers.push(header);
        }
        for (path, from) in &files {
            options.extra_ca_pem.push(read_ca(path, from)?);
        }
        Network::new(options).map_err(|error| self.refused(error))
    }

    /// Says which of these arguments cannot be used: the SDK names its own options.
    fn refused(&self, error: PlayerError) -> Failure {
        let PlayerError::InvalidOption { option, reason } = &error else {
            return error.into();
        };
        let what = match *option {
            "proxy" => format!("--proxy {}", self.proxy.as_deref().unwrap_or_default()),
            "headers" => "--header".to_owned(),
            _ => return error.into(),
        };
        Failure::usage(format_args!("{what} cannot be used: {reason}"))
    }

    /// Refuses versions of HTTP that an address cannot have.
    pub(crate) fn check_http<'a>(
        &self,
        urls: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        let wants_tls = matches!(self.http, Some(HttpChoice::H2 | HttpChoice::H3));
        let plain = urls.into_iter().find(|url| url.starts_with("http://"));
        match plain.filter(|_| wants_tls) {
            None => Ok(()),
            Some(url) => Err(Failure::usage(format_args!(
                "{url} is without TLS, where there is HTTP/1.1 only: write https://, or leave --http out"
            ))),
        }
    }
}

impl BackendArguments {
    /// Returns the backend by argument, environment or configuration.
    pub(crate) fn options(&self, context: &Context) -> Option<BackendOptions> {
        let url = self
            .backend
            .clone()
            .or_else(|| context.settings.backend.clone())?;
        let mut options = BackendOptions::new(url);
        options.account = self
            .account
            .clone()
            .or_else(|| context.settings.account.clone())
            .unwrap_or_else(|| ACCOUNT.to_owned());
        options.device_id = device_id();
        if let Some(platform) = &self.platform {
            options.platform.clone_from(platform);
        }
        Some(options)
    }
}

/// Reads a certificate authority; `from` is who named it.
fn read_ca(path: &Path, from: &str) -> Result<Vec<u8>, Failure> {
    let remedy = "give a file with its certificate as PEM text";
    let pem = std::fs::read(path).map_err(Failure::io(
        "cli.ca",
        format_args!(
            "cannot read the certificate authority {} ({from})",
            path.display()
        ),
        remedy,
    ))?;
    // Alone, so that it is known which of several it is.
    let alone = NetworkOptions {
        extra_ca_pem: vec![pem.clone()],
        ..NetworkOptions::default()
    };
    match Network::new(alone) {
        Ok(_) => Ok(pem),
        Err(_) => Err(Failure::usage(format_args!(
            "{} ({from}) holds no certificate authority that can be used; {remedy}",
            path.display()
        ))),
    }
}

/// Takes a web address as it is.
pub(crate) fn parse_url(text: &str) -> Result<String, String> {
    if nearcast_net::Request::get(text).is_ok() {
        return Ok(text.to_owned());
    }
    let example = if text.contains("://") || text.contains(char::is_whitespace) || text.is_empty() {
        "edge.example"
    } else {
        text
    };
    Err(format!(
        "a URL begins with https:// or http://, as in https://{example}"
    ))
}

/// Takes a file that is written all along, which standard output is not for.
pub(crate) fn parse_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("standard output tells what happens: name a file".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn parse_resolve(text: &str) -> Result<(String, IpAddr), String> {
    let (host, address) = text
        .split_once(':')
        .ok_or("write it as HOST:ADDR, as in edge.example:127.0.0.1")?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = bare
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address"))?;
    Ok((host.to_owned(), address))
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Reads a span of time: `90`, `90s`, `1.5m`, `2h`, `1h02m03s`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time: write 90s, 10m or 1h30m");
    if text.is_empty() {
        return Err(wrong());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
        rest = next;
    }
    Ok(total)
}

/// Reads a rate: `1500kbps`, `1.5Mbps`, `800000`.
pub(crate) fn parse_rate(text: &str) -> Result<BitRate, String> {
    let wrong = || format!("`{text}` is not a rate: write 1500kbps or 1.5Mbps");
    let lower = text.to_ascii_lowercase();
    let (number, factor) = if let Some(number) = lower.strip_suffix("kbps") {
        (number, 1_000)
    } else if let Some(number) = lower.strip_suffix("mbps") {
        (number, 1_000_000)
    } else {
        (lower.strip_suffix("bps").unwrap_or(&lower), 1)
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if !(number > 0.0 && number < 1e9) {
        return Err(wrong());
    }
    Ok(BitRate::from_bps(factor).scaled(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_are_read_as_people_write_them() {
        assert_eq!(parse_span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("1h02m03s"), Ok(Duration::from_secs(3723)));
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_span("tomorrow").is_err());
        assert!(parse_span("-3").is_err());
        assert!(parse_span("").is_err(), "nothing is not no time");
        assert_eq!(parse_rate("1500kbps"), Ok(BitRate::from_kbps(1500)));
        assert_eq!(parse_rate("1.5Mbps"), Ok(BitRate::from_kbps(1500)));
        assert!(parse_rate("fast").is_err());
    }

    #[test]
    fn a_url_is_taken_as_it_is_or_corrected() {
        for url in [
            "https://a",
            "http://127.0.0.1:8080/x?y=z",
            "https://[::1]:1",
        ] {
            assert_eq!(parse_url(url).as_deref(), Ok(url));
        }
        for (slip, says) in [
            ("edge-1:8443", "https://edge-1:8443"),
            ("127.0.0.1", "https://127.0.0.1"),
            ("ftp://edge-1", "https://edge.example"),
            ("", "https://edge.example"),
        ] {
            assert!(parse_url(slip).unwrap_err().ends_with(says), "{slip}");
        }
    }

    #[test]
    fn a_fixed_address_may_be_of_either_family() {
        assert_eq!(
            parse_resolve("a.example:127.0.0.1").unwrap().1.to_string(),
            "127.0.0.1"
        );
        assert_eq!(
            parse_resolve("a.example:[::1]").unwrap().1.to_string(),
            "::1"
        );
        assert!(parse_resolve("a.example").is_err());
    }
}
