//! What learns: small networks like those of `nearcast-core`, how they descend, and the tables that they end as.

pub(super) mod adam;
pub(super) mod network;
pub(super) mod table;
