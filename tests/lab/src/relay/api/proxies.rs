//! All proxies by name, and what is answered to each call.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use nearcast_units::Seed;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ApiError;
use super::proxy::{Proxy, ProxyInput};
use super::{Answer, Call};

#[derive(Debug)]
pub(super) struct Proxies {
    by_name: BTreeMap<String, Proxy>,
    seed: Seed,
    /// How many toxics have ever been made.
    toxics: u64,
}

impl Proxies {
    pub(super) const fn new(seed: Seed) -> Self {
        Self {
            by_name: BTreeMap::new(),
            seed,
            toxics: 0,
        }
    }

    /// Does what is asked for.
    pub(super) async fn answer(&mut self, call: Call) -> Answer {
        match call {
            Call::List => {
                let all = self.by_name.iter();
                let all = all.map(|(name, proxy)| (name.clone(), proxy.view()));
                found(all.collect())
            }
            Call::Create(body) => self.create(read(&body)?).await,
            Call::Populate(body) => self.populate(read(&body)?).await,
            Call::Reset => self.reset().await,
            Call::Show(name) => found(self.find(&name)?.view()),
            Call::Update(name, body) => {
                let proxy = self.find(&name)?;
                proxy.update(read(&body)?).await?;
                found(proxy.view())
            }
            Call::Delete(name) => {
                self.find(&name)?.stop().await;
                self.by_name.remove(&name);
                DONE
            }
            Call::Receipts(name) => found(self.find(&name)?.receipts_view()),
            Call::Toxics(name) => found(self.find(&name)?.toxics_view()),
            Call::AddToxic(name, body) => {
                let id = self.toxics + 1;
                let added = self.find(&name)?.add_toxic(&read(&body)?, id)?;
                self.toxics = id;
                found(added)
            }
            Call::ShowToxic(name, toxic) => found(self.find(&name)?.toxic_view(&toxic)?),
            Call::UpdateToxic(name, toxic, body) => {
                let proxy = self.find(&name)?;
                found(proxy.update_toxic(&toxic, &read(&body)?)?)
            }
            Call::RemoveToxic(name, toxic) => {
                self.find(&name)?.remove_toxic(&toxic)?;
                DONE
            }
        }
    }

    /// Takes down all proxies.
    pub(super) async fn close(mut self) {
        for proxy in self.by_name.values_mut() {
            proxy.stop().await;
        }
    }

    async fn create(&mut self, input: ProxyInput) -> Answer {
        let mut proxy = Proxy::new(&input, self.seed)?;
        if self.by_name.contains_key(proxy.name()) {
            return Err(ApiError::ProxyExists(input.name));
        }
        if input.enabled.unwrap_or(true) {
            proxy.start().await?;
        }
        let view = proxy.view();
        self.by_name.insert(input.name, proxy);
        Ok((StatusCode::CREATED, Some(view)))
    }

    /// Creates what is not there, and replaces what is elsewhere. Where one cannot be had, those before it are told.
    async fn populate(&mut self, inputs: Vec<ProxyInput>) -> Answer {
        let mut names = BTreeSet::new();
        for (place, input) in inputs.iter().enumerate() {
            if !names.insert(input.name.as_str()) {
                return Err(ApiError::ProxyExists(format!(
                    "{}, named twice",
                    input.name
                )));
            }
            Proxy::new(input, self.seed).map_err(|error| at(place, error))?;
        }
        let mut done = Vec::new();
        for input in inputs {
            let name = input.name.clone();
            if let Err(error) = self.create_or_replace(input).await {
                let mut told = error.body();
                if let Value::Object(told) = &mut told {
                    told.insert("proxies".to_owned(), Value::Array(done));
                }
                return Ok((error.status(), Some(told)));
            }
            done.push(self.find(&name)?.view());
        }
        Ok((StatusCode::CREATED, Some(json!({ "proxies": done }))))
    }

    async fn create_or_replace(&mut self, input: ProxyInput) -> Result<(), ApiError> {
        let listen = input.listen.clone().unwrap_or_default();
        let upstream = input.upstream.clone().unwrap_or_default();
        if let Some(proxy) = self.by_name.get_mut(&input.name) {
            if proxy.is_at(&listen, &upstream) {
                return proxy
                    .update(ProxyInput {
                        enabled: Some(input.enabled.unwrap_or(true)),
                        ..ProxyInput::default()
                    })
                    .await;
            }
            proxy.stop().await;
            self.by_name.remove(&input.name);
        }
        self.create(input).await?;
        Ok(())
    }

    async fn reset(&mut self) -> Answer {
        for proxy in self.by_name.values_mut() {
            proxy.remove_all_toxics();
            proxy.start().await?;
        }
        DONE
    }

    fn find(&mut self, name: &str) -> Result<&mut Proxy, ApiError> {
        let proxy = self.by_name.get_mut(name);
        proxy.ok_or_else(|| ApiError::ProxyNotFound(name.to_owned()))
    }
}

const DONE: Answer = Ok((StatusCode::NO_CONTENT, None));

#[expect(clippy::unnecessary_wraps, reason = "it is what every call answers")]
const fn found(value: Value) -> Answer {
    Ok((StatusCode::OK, Some(value)))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Body(error.to_string()))
}

/// Says which one of a list it is that lacks something.
fn at(place: usize, error: ApiError) -> ApiError {
    if let ApiError::Missing(field) = error {
        ApiError::Missing(format!("{field} at proxy {}", place + 1))
    } else {
        error
    }
}
