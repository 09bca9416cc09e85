//! A sans-IO model of an edge appliance.
