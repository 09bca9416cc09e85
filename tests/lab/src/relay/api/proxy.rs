//! One proxy: a relay that can be taken down and up again, and its toxics.

use std::net::SocketAddr;
use std::sync::Arc;

use nearcast_units::{Ratio, Seed};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::relay::{
    Carried, Counts, Direction, PlacedToxic, Receipt, Relay, RelayConfig, Toxic, Upstream,
};

/// What a client says of a proxy. Toxics are not made by this, as in Toxiproxy.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ProxyInput {
    #[serde(default)]
    pub(super) name: String,
    pub(super) listen: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) enabled: Option<bool>,
}

/// What a client says of a toxic.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ToxicInput {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    stream: String,
    toxicity: Option<f64>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

/// A relay of TCP by name.
#[derive(Debug)]
pub(super) struct Proxy {
    name: String,
    /// As a client wrote it.
    asked: String,
    /// As it turned out: with the port that was got.
    listen: String,
    upstream: Upstream,
    toxics: Vec<PlacedToxic>,
    relay: Option<Relay>,
    /// What the last relay did, while there is none.
    past: (Counts, Vec<Receipt>),
    seed: Seed,
}

/// Any free port, of this machine only.
const ANYWHERE: &str = "127.0.0.1:0";

impl Proxy {
    /// Makes a proxy that is down.
    pub(super) fn new(input: &ProxyInput, seed: Seed) -> Result<Self, ApiError> {
        if input.name.is_empty() {
            return Err(ApiError::Missing("name".to_owned()));
        }
        let Some(upstream) = input.upstream.as_deref().filter(|text| !text.is_empty()) else {
            return Err(ApiError::Missing("upstream".to_owned()));
        };
        let listen = input.listen.clone().unwrap_or_default();
        Ok(Self {
            name: input.name.clone(),
            asked: listen.clone(),
            listen,
            upstream: Upstream::parse(upstream)?,
            toxics: Vec::new(),
            relay: None,
            past: (Counts::default(), Vec::new()),
            seed: seed.split(&input.name),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is where a client wants one to be.
    pub(super) fn is_at(&self, listen: &str, upstream: &str) -> bool {
        (listen == self.asked || listen == self.listen) && upstream == self.upstream.host_and_port()
    }

    /// Takes connections from now on, where it does not yet.
    pub(super) async fn start(&mut self) -> Result<(), ApiError> {
        if self.relay.is_some() {
            return Ok(());
        }
        let relay = Relay::start(RelayConfig {
            listen: resolve(&self.listen).await?,
            upstream: self.upstream.clone(),
            carried: Carried::Tcp,
            seed: self.seed,
            toxics: self.toxics.clone(),
        })?;
        self.listen = relay.address().to_string();
        self.relay = Some(relay);
        Ok(())
    }

    /// Takes no more connections, and closes those that stand.
    pub(super) async fn stop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.past = (relay.counts(), relay.receipts());
            relay.close().await;
        }
    }

    /// Changes what a client has given; another place ends all connections.
    pub(super) async fn update(&mut self, input: ProxyInput) -> Result<(), ApiError> {
        let listen = input.listen.unwrap_or_else(|| self.listen.clone());
        let upstream = match input.upstream {
            Some(text) => Upstream::parse(&text)?,
            None => self.upstream.clone(),
        };
        let enabled = input.enabled.unwrap_or(self.relay.is_some());
        if !self.is_at(&listen, upstream.host_and_port()) {
            resolve(&listen).await?;
            self.stop().await;
            self.asked.clone_from(&listen);
            self.listen = listen;
            self.upstream = upstream;
        }
        if enabled {
            self.start().await
        } else {
            self.stop().await;
            Ok(())
        }
    }

    /// Puts a toxic on it, which is the `id`th one ever made.
    pub(super) fn add_toxic(&mut self, input: &ToxicInput, id: u64) -> Result<Value, ApiError> {
        let direction = match input.stream.to_lowercase().as_str() {
            "" | "downstream" => Direction::Downstream,
            "upstream" => Direction::Upstream,
            _ => return Err(ApiError::Stream(input.stream.clone())),
        };
        let toxic = Toxic::parse(&input.kind, &input.attributes)?;
        let toxicity = toxicity(input.toxicity.unwrap_or(1.0))?;
        let name = if input.name.is_empty() {
            format!("{}_{}", toxic.kind(), stream(direction))
        } else {
            input.name.clone()
        };
        if self.find(&name).is_ok() {
            return Err(ApiError::ToxicExists(name));
        }
        let placed = PlacedToxic {
            id,
            name: Arc::from(name),
            direction,
            toxicity,
            toxic,
        };
        let view = view_of(&placed);
        self.toxics.push(placed);
        self.place_toxics();
        Ok(view)
    }

    /// Changes a toxic's share of connections, and those of its attributes that are given.
    pub(super) fn update_toxic(
        &mut self,
        name: &str,
        input: &ToxicInput,
    ) -> Result<Value, ApiError> {
        let place = self.find(name)?;
        let Some(placed) = self.toxics.get_mut(place) else {
            return Err(ApiError::ToxicNotFound(name.to_owned()));
        };
        let mut attributes = placed.toxic.attributes();
        attributes.extend(input.attributes.clone());
        let toxic = Toxic::parse(placed.toxic.kind(), &attributes)?;
        placed.toxicity = toxicity(input.toxicity.unwrap_or(placed.toxicity.get()))?;
        placed.toxic = toxic;
        let view = view_of(placed);
        self.place_toxics();
        Ok(view)
    }

    pub(super) fn remove_toxic(&mut self, name: &str) -> Result<(), ApiError> {
        let place = self.find(name)?;
        self.toxics.remove(place);
        self.place_toxics();
        Ok(())
    }

    pub(super) fn remove_all_toxics(&mut self) {
        self.toxics.clear();
        self.place_toxics();
    }

    fn find(&self, name: &str) -> Result<usize, ApiError> {
        let place = self.toxics.iter().position(|placed| *placed.name == *name);
        place.ok_or_else(|| ApiError::ToxicNotFound(name.to_owned()))
    }

    fn place_toxics(&self) {
        if let Some(relay) = &self.relay {
            relay.set_toxics(self.toxics.clone());
        }
    }

    pub(super) fn view(&self) -> Value {
        json!({
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream.host_and_port(),
            "enabled": self.relay.is_some(),
            "toxics": self.toxics_view(),
        })
    }

    pub(super) fn toxics_view(&self) -> Value {
        self.toxics.iter().map(view_of).collect()
    }

    pub(super) fn toxic_view(&self, name: &str) -> Result<Value, ApiError> {
        let placed = self.toxics.get(self.find(name)?);
        placed
            .map(view_of)
            .ok_or_else(|| ApiError::ToxicNotFound(name.to_owned()))
    }

    /// Returns what the relay did since it was enabled.
    pub(super) fn receipts_view(&self) -> Value {
        let (counts, receipts) = match &self.relay {
            Some(relay) => (relay.counts(), relay.receipts()),
            None => self.past.clone(),
        };
        json!({ "counts": counts, "receipts": receipts })
    }
}

const fn stream(direction: Direction) -> &'static str {
    match direction {
        Direction::Upstream => "upstream",
        Direction::Downstream => "downstream",
    }
}

fn toxicity(share: f64) -> Result<Ratio, ApiError> {
    Ratio::new(share).map_err(|_| {
        ApiError::Body(format!(
            "\"toxicity\" is {share}; a share of connections from 0.0 to 1.0 would be right"
        ))
    })
}

fn view_of(placed: &PlacedToxic) -> Value {
    json!({
        "name": *placed.name,
        "type": placed.toxic.kind(),
        "stream": stream(placed.direction),
        "toxicity": placed.toxicity.get(),
        "attributes": placed.toxic.attributes(),
    })
}

/// Finds where to listen. `:80` is a port of all interfaces (IPv4), as in Toxiproxy.
async fn resolve(listen: &str) -> Result<SocketAddr, ApiError> {
    let text = match listen {
        "" => ANYWHERE.to_owned(),
        _ if listen.starts_with(':') => format!("0.0.0.0{listen}"),
        _ => listen.to_owned(),
    };
    let nowhere = |reason: String| ApiError::Listen {
        text: listen.to_owned(),
        reason,
    };
    match tokio::net::lookup_host(text).await {
        Ok(mut found) => found
            .next()
            .ok_or_else(|| nowhere("it has no address".to_owned())),
        Err(error) => Err(nowhere(error.to_string())),
    }
}
