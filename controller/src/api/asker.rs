//! Who asks, as the gate has found out: a subject's name, for its rate and its count.
//!
//! Not responsible for finding it out (`taciturn_plane`).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use taciturn_plane::Caller;

/// The caller's name.
#[derive(Clone, Debug)]
pub(super) struct Asker(pub(super) Arc<str>);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Caller>();
        // The gate leaves it in every request that it lets through.
        let name = caller.map_or_else(|| Arc::from("stranger"), |caller| Arc::clone(&caller.name));
        Ok(Self(name))
    }
}
