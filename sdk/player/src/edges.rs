//! Which edges there are and where an object lies on each: the only place where names meet URLs and tokens.

use std::net::IpAddr;

use nearcast_core::{EdgeId, EdgeOffer};
use nearcast_manifest::{Location, Manifest, Pathway, Target};
use nearcast_net::{Origin, Protocol, Protocols, Request, Scheme};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_protocol::play::{APPLIANCES_MAX, ApplianceOffer, HttpProtocol, PlayGrant};
use url::Url;

use crate::source::{EDGES_MAX, FixedSource, base_url};

/// Edges in the order in which they became known, as the session counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct EdgeBook {
    edges: Vec<Edge>,
}

#[derive(Clone, Debug)]
struct Edge {
    name: String,
    base: Url,
    origin: Origin,
    addresses: Vec<IpAddr>,
    /// `None` allows all.
    protocols: Option<Vec<HttpProtocol>>,
    /// Appended to every URL.
    query: Option<String>,
    /// Another place that the manifest names for the same files.
    pathway: Option<Pathway>,
}

impl EdgeBook {
    /// Takes the appliances of a grant; known ones get their new address and token. Unusable ones are left out.
    pub(crate) fn take_grant(&mut self, grant: &PlayGrant) -> Vec<EdgeOffer> {
        let mut offers = Vec::new();
        for appliance in grant.appliances.iter().take(APPLIANCES_MAX) {
            let Some(edge) = Edge::of_appliance(appliance) else {
                tracing::debug!(
                    edge = appliance.id,
                    "an edge without a usable address was left out"
                );
                continue;
            };
            offers.extend(self.take(edge, appliance.rank));
        }
        offers
    }

    /// Takes the edges of a source without a backend.
    pub(crate) fn take_fixed(&mut self, source: &FixedSource) -> Vec<EdgeOffer> {
        let mut offers = Vec::new();
        for (rank, base) in (0..).zip(&source.bases) {
            let Ok((origin, _)) = Origin::split(base.as_str()) else {
                continue;
            };
            let name = name_among(&source.bases, base, &origin);
            offers.extend(self.take(Edge::plain(name, base.clone(), origin), rank));
        }
        offers
    }

    /// Takes further places of a manifest as edges: those that lie on another origin than the first.
    /// Returns all offers, or `None` when there is nothing new.
    pub(crate) fn take_pathways(
        &mut self,
        manifest: &Manifest,
        known: &[EdgeOffer],
    ) -> Option<Vec<EdgeOffer>> {
        let mut offers = known.to_vec();
        for (rank, pathway) in
            (u32::try_from(known.len()).ok()?..).zip(manifest.pathways.iter().skip(1))
        {
            let Target::Url(url) = &pathway.base else {
                continue;
            };
            let Some((base, origin)) = Url::parse(url)
                .ok()
                .zip(Origin::split(url).ok().map(|(origin, _)| origin))
            else {
                continue;
            };
            let mut edge = Edge::plain(origin.authority(), base, origin);
            if self.edges.iter().any(|known| known.name == edge.name) {
                edge.name = pathway.name.clone();
            }
            edge.pathway = Some(pathway.clone());
            offers.extend(self.take(edge, rank));
        }
        (offers.len() > known.len()).then_some(offers)
    }

    /// Returns an edge's name.
    pub(crate) fn name(&self, id: EdgeId) -> &str {
        self.edges
            .get(usize::from(id.0))
            .map_or("unknown", |edge| &edge.name)
    }

    /// Returns whom connections to an edge lead to.
    pub(crate) fn origin(&self, id: EdgeId) -> Option<&Origin> {
        self.edges.get(usize::from(id.0)).map(|edge| &edge.origin)
    }

    /// Makes the request for a whole file on an edge; `allowed` is what the application allows.
    pub(crate) fn request(
        &self,
        id: EdgeId,
        manifest: Option<&Manifest>,
        location: &Location,
        allowed: Protocols,
    ) -> Option<Request> {
        let edge = self.edges.get(usize::from(id.0))?;
        let elsewhere = manifest
            .zip(edge.pathway.as_ref())
            .and_then(|(manifest, pathway)| manifest.on_pathway(location, pathway));
        let target = &elsewhere.as_ref().unwrap_or(location).target;
        let url = match target {
            Target::Url(url) => Url::parse(url).ok()?,
            // An absolute path is below the origin, a relative one below the base.
            Target::Path(path) => edge.join(path)?,
        };
        let (origin, mut path_and_query) = Origin::split(url.as_str()).ok()?;
        let at_home = origin == edge.origin;
        if let Some(query) = edge.query.as_ref().filter(|_| at_home) {
            path_and_query.push(if path_and_query.contains('?') {
                '&'
            } else {
                '?'
            });
            path_and_query.push_str(query);
        }
        let mut request = Request::new(origin, path_and_query);
        request.protocols = edge.protocols(allowed);
        if at_home {
            request.addresses.clone_from(&edge.addresses);
        }
        Some(request)
    }

    fn take(&mut self, edge: Edge, rank: u32) -> Option<EdgeOffer> {
        let name = edge.name.clone();
        if let Some(known) = self.edges.iter_mut().find(|known| known.name == edge.name) {
            *known = edge;
        } else if self.edges.len() < EDGES_MAX {
            self.edges.push(edge);
        } else {
            return None;
        }
        Some(EdgeOffer { name, rank })
    }
}

impl Edge {
    fn plain(name: String, base: Url, origin: Origin) -> Self {
        Self {
            name,
            base,
            origin,
            addresses: Vec::new(),
            protocols: None,
            query: None,
            pathway: None,
        }
    }

    fn of_appliance(offer: &ApplianceOffer) -> Option<Self> {
        let base = base_url(&offer.base_url).ok()?;
        let (origin, _) = Origin::split(base.as_str()).ok()?;
        Some(Self {
            addresses: offer
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect(),
            protocols: Some(offer.protocols.clone()),
            query: offer
                .token
                .as_ref()
                .map(|token| token.query.trim_start_matches('?').to_owned()),
            ..Self::plain(offer.id.clone(), base, origin)
        })
    }

    fn join(&self, path: &str) -> Option<Url> {
        let mut url = self.base.clone();
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        let joined = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}{path}", self.base.path())
        };
        url.set_path(&joined);
        url.set_query(query);
        Some(url)
    }

    /// What both the grant and the application allow; the application's word wins where nothing would be left.
    fn protocols(&self, allowed: Protocols) -> Protocols {
        let Some(spoken) = self
            .protocols
            .as_ref()
            .filter(|_| self.origin.scheme == Scheme::Https)
        else {
            return allowed;
        };
        let speaks = |protocol: &HttpProtocol| spoken.contains(protocol);
        let both = Protocols {
            http1: allowed.http1 && speaks(&HttpProtocol::Http1),
            http2: allowed.http2 && speaks(&HttpProtocol::H2),
            http3: allowed.http3,
            h3_first: allowed.http3 && speaks(&HttpProtocol::H3),
            ..allowed
        };
        if both.http1 || both.http2 || both.h3_first {
            both
        } else {
            allowed
        }
    }
}

/// Returns the host, with what tells an edge apart from those on the same one.
fn name_among(bases: &[Url], base: &Url, origin: &Origin) -> String {
    let authority = origin.authority();
    let alike = || {
        bases.iter().filter(|other| {
            Origin::split(other.as_str()).is_ok_and(|(other, _)| other.authority() == authority)
        })
    };
    if alike().count() < 2 {
        return authority;
    }
    let path = base.path().trim_end_matches('/');
    if alike().any(|other| other.scheme() != base.scheme()) {
        format!("{}://{authority}{path}", base.scheme())
    } else {
        format!("{authority}{path}")
    }
}

/// Where an object lies before the manifest is known: only the manifest itself.
pub(crate) fn manifest_location(name: &str) -> Location {
    let target = match Url::parse(name) {
        Ok(url) => {
            let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
            Target::Path(path.to_owned())
        }
        Err(_) => Target::Path(name.to_owned()),
    };
    Location {
        target,
        range: None,
    }
}

/// Returns where an object lies.
pub(crate) fn locate(
    manifest: Option<&Manifest>,
    name: &str,
    object: ObjectKey,
) -> Option<Location> {
    match object {
        // What is small and everywhere.
        ObjectKey::Manifest | ObjectKey::Probe => Some(manifest_location(name)),
        ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Media(..) => {
            manifest?.locations.locate(object)
        }
    }
}

/// Returns the protocol as the session knows it.
pub(crate) const fn core_protocol(protocol: Protocol) -> nearcast_core::Protocol {
    match protocol {
        Protocol::Http3 => nearcast_core::Protocol::H3,
        Protocol::Http2 => nearcast_core::Protocol::H2,
        Protocol::Http1 => nearcast_core::Protocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use nearcast_protocol::play::{EdgeToken, SiteKind};

    use super::*;

    fn appliance(id: &str, base_url: &str, token: Option<&str>) -> ApplianceOffer {
        ApplianceOffer {
            id: id.to_owned(),
            site: String::new(),
            kind: SiteKind::Isp,
            base_url: base_url.to_owned(),
            protocols: vec![HttpProtocol::H3, HttpProtocol::H2],
            addresses: vec!["192.0.2.7".to_owned(), "nonsense".to_owned()],
            rank: 0,
            token: token.map(|query| EdgeToken {
                query: query.to_owned(),
                expires_at_unix_ms: 0,
            }),
        }
    }

    fn grant(appliances: Vec<ApplianceOffer>) -> PlayGrant {
        serde_json::from_value(serde_json::json!({
            "playback_id": "p", "title": {"id": "t", "name": "T", "duration_ms": 1},
            "manifests": {"dash": "t/stream.mpd"}, "appliances": appliances,
            "issued_at_unix_ms": 0, "refresh_after_ms": 1000,
        }))
        .unwrap()
    }

    fn path_of(book: &EdgeBook, id: u16, path: &str) -> String {
        let location = Location {
            target: Target::Path(path.to_owned()),
            range: None,
        };
        book.request(EdgeId(id), None, &location, Protocols::ALL)
            .unwrap()
            .path_and_query
    }

    #[test]
    fn a_refreshed_grant_changes_tokens_and_keeps_ids() {
        let mut book = EdgeBook::default();
        book.take_grant(&grant(vec![
            appliance("a", "https://a.example/m", Some("t=1")),
            appliance("b", "https://b.example", None),
        ]));
        let offers = book.take_grant(&grant(vec![
            appliance("c", "https://c.example", None),
            appliance("a", "https://a.example/m", Some("?t=2")),
            appliance("broken", "no url", None),
        ]));
        let names: Vec<_> = offers.iter().map(|offer| offer.name.as_str()).collect();
        assert_eq!(names, ["c", "a"]);
        assert_eq!(
            [
                book.name(EdgeId(0)),
                book.name(EdgeId(1)),
                book.name(EdgeId(2))
            ],
            ["a", "b", "c"]
        );
        assert_eq!(path_of(&book, 0, "t/1.m4s"), "/m/t/1.m4s?t=2");
        assert_eq!(path_of(&book, 0, "t/1.m4s?x=1"), "/m/t/1.m4s?x=1&t=2");
        assert_eq!(path_of(&book, 1, "/abs.m4s"), "/abs.m4s");
    }

    #[test]
    fn edges_on_one_host_have_names_of_their_own() {
        let names = |bases: &[&str]| {
            let source = FixedSource {
                manifest: "x.mpd".to_owned(),
                bases: bases.iter().map(|base| base_url(base).unwrap()).collect(),
            };
            let offers = EdgeBook::default().take_fixed(&source);
            offers
                .into_iter()
                .map(|offer| offer.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&["http://h:8443/", "https://h:8443/"]),
            ["http://h:8443", "https://h:8443"]
        );
        assert_eq!(names(&["http://h", "https://h"]), ["http://h", "https://h"]);
        assert_eq!(
            names(&["http://h/a", "http://h/b", "http://g/"]),
            ["h/a", "h/b", "g"]
        );
    }

    #[test]
    fn a_token_does_not_leave_its_edge() {
        let mut book = EdgeBook::default();
        book.take_grant(&grant(vec![appliance(
            "a",
            "https://a.example",
            Some("t=1"),
        )]));
        let location = Location {
            target: Target::Url("https://other.example/x".to_owned()),
            range: None,
        };
        let request = book
            .request(EdgeId(0), None, &location, Protocols::ALL)
            .unwrap();
        assert_eq!(
            (
                request.origin.host.as_str(),
                request.path_and_query.as_str()
            ),
            ("other.example", "/x")
        );
        assert!(request.addresses.is_empty());
    }

    #[test]
    fn the_grant_and_the_application_both_have_a_say_in_protocols() {
        let mut book = EdgeBook::default();
        book.take_grant(&grant(vec![appliance("a", "https://a.example", None)]));
        let location = Location {
            target: Target::Path("x".to_owned()),
            range: None,
        };
        let protocols = |allowed| {
            book.request(EdgeId(0), None, &location, allowed)
                .unwrap()
                .protocols
        };
        let all = protocols(Protocols::ALL);
        assert!(all.h3_first && all.http2 && !all.http1);
        let only2 = protocols(Protocols::only(Protocol::Http2));
        assert!(only2.http2 && !only2.http3 && !only2.h3_first);
        assert_eq!(
            protocols(Protocols::only(Protocol::Http1)),
            Protocols::only(Protocol::Http1)
        );
    }
}
