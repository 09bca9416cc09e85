//! Names, connections, requests and bodies; mechanism without policy.
