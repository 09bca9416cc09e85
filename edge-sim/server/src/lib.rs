//! Edge appliances over real sockets.
