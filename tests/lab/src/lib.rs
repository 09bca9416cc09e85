//! What `nearcast-lab` is built of, where tests and its other parts want more than its commands.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! use nearcast_lab::relay::{Reach, Relay, RelayConfig};
//!
//! let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let relay = Relay::start(RelayConfig::tcp(upstream.local_addr()?))?;
//! relay.set_reach(Reach::Refused).await?;
//! let refused = tokio::net::TcpStream::connect(relay.address()).await;
//! assert!(refused.is_err());
//! relay.close().await;
//! # Ok(()) }
//! ```

pub mod relay;
