//! Every decision of the player, without sockets, clock or threads.
