//! Who calls, and from where.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use nearcast_backend_model::Ask;

use super::App;
use super::problem::Fail;

/// The other end of the connection, put into every request by the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Lets a caller on this machine say which address it stands for.
pub(crate) const CLIENT_ADDRESS_HEADER: &str = "nearcast-client-address";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// What came as `Authorization: Bearer …`; empty when nothing did.
    pub(crate) token: String,
    /// The client's address.
    pub(crate) client: IpAddr,
}

impl Caller {
    pub(crate) fn ask(&self) -> Ask<'_> {
        Ask {
            token: &self.token,
            client: self.client,
        }
    }

    fn of(headers: &HeaderMap, peer: IpAddr) -> Result<Self, Fail> {
        Ok(Self {
            token: bearer(headers).unwrap_or_default().to_owned(),
            client: client_address(headers, peer)?,
        })
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Fail> {
        let peer = parts
            .extensions
            .get()
            .copied()
            .ok_or_else(|| Fail::internal("The connection's address is not known."));
        peer.and_then(|Peer(peer)| Self::of(&parts.headers, peer))
    }
}

/// What came as `Authorization: Bearer …`, for calls that need no address.
pub(crate) struct Bearer(pub(crate) String);

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        let token = bearer(&parts.headers).unwrap_or_default().to_owned();
        Ok(Self(token))
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// The header counts from this machine alone: anybody else could choose their country with it.
fn client_address(headers: &HeaderMap, peer: IpAddr) -> Result<IpAddr, Fail> {
    let peer = peer.to_canonical();
    match headers.get(CLIENT_ADDRESS_HEADER) {
        Some(value) if peer.is_loopback() => value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(|address: IpAddr| address.to_canonical())
            .ok_or_else(|| Fail::bad_request("Nearcast-Client-Address must be an IP address.")),
        _ => Ok(peer),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn caller(peer: &str, headers: &[(&'static str, &'static str)]) -> Result<Caller, Fail> {
        let headers = headers
            .iter()
            .map(|&(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        Caller::of(&headers, peer.parse().unwrap())
    }

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        caller(peer, headers).unwrap().client.to_string()
    }

    #[test]
    fn only_this_machine_may_say_which_address_it_stands_for() {
        let header = [(CLIENT_ADDRESS_HEADER, "203.0.113.9")];
        assert_eq!(client("127.0.0.1", &header), "203.0.113.9");
        assert_eq!(client("::1", &header), "203.0.113.9");
        assert_eq!(client("::ffff:127.0.0.1", &header), "203.0.113.9");
        assert_eq!(client("192.0.2.1", &header), "192.0.2.1");
        assert_eq!(client("2001:db8::1", &header), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
        let nonsense = [(CLIENT_ADDRESS_HEADER, "home")];
        assert!(caller("127.0.0.1", &nonsense).is_err());
        assert_eq!(client("192.0.2.1", &nonsense), "192.0.2.1");
    }

    #[test]
    fn a_bearer_token_is_read_and_nothing_else() {
        let token = |value| {
            caller("192.0.2.1", &[("authorization", value)])
                .unwrap()
                .token
        };
        assert_eq!(token("Bearer abc"), "abc");
        assert_eq!(token("bearer  abc"), "abc");
        assert_eq!(token("Basic abc"), "");
        assert_eq!(token("abc"), "");
        assert_eq!(caller("192.0.2.1", &[]).unwrap().token, "");
    }
}
