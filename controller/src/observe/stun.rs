//! A STUN Binding request to a relay's data path (RFC 8489 §2).
//!
//! Responsible for telling an admin API that is down from a relay that is. Not responsible for what follows.
