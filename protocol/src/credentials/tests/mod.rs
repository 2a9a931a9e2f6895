//! Tests of credentials and nonces.
