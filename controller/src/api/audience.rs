//! Whom each path of the API is for.
//!
//! Not responsible for who anybody is, nor for turning them away (`taciturn_plane`).

use taciturn_plane::Audience;

/// What is not here is the operator's, so that nothing is opened by being forgotten.
pub(super) fn audience(path: &str) -> Audience {
    match path {
        "/live" | "/ready" => Audience::Everybody,
        "/" | "/self-test" | "/v1/openapi.json" => Audience::Page,
        "/metrics"
        | "/v1/fleet"
        | "/v1/decisions"
        | "/v1/audit"
        | "/v1/prometheus/targets"
        | "/v1/overview" => Audience::Reader,
        "/v1/ice-servers" | "/v1/turn" | "/v1/snapshot" | "/v1/self-test/tickets" => {
            Audience::Subject
        }
        "/v1/self-test/ice-servers" => Audience::Ticket,
        asset if asset.starts_with("/assets/") => Audience::Page,
        _ => Audience::Operator,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use taciturn_plane::{Caller, Role};

    use super::*;

    fn serves(path: &str, method: &Method) -> Vec<Role> {
        [Role::Operator, Role::Reader, Role::Subject, Role::Stranger]
            .into_iter()
            .filter(|role| {
                let name = role.as_str().into();
                Caller { role: *role, name }.may(audience(path), method)
            })
            .collect()
    }

    /// every path serves those that it is for, whatever is done to it, and everything else is the operator's alone.
    #[test]
    fn every_path_serves_those_that_it_is_for() {
        use Role::{Operator, Reader, Stranger, Subject};
        let all = [Operator, Reader, Subject, Stranger];
        for path in [
            "/live",
            "/ready",
            "/",
            "/self-test",
            "/assets/page.js",
            "/v1/openapi.json",
        ] {
            assert_eq!(serves(path, &Method::GET), all, "{path}");
        }
        for path in [
            "/metrics",
            "/v1/fleet",
            "/v1/decisions",
            "/v1/audit",
            "/v1/prometheus/targets",
            "/v1/overview",
        ] {
            assert_eq!(serves(path, &Method::GET), [Operator, Reader], "{path}");
            assert_eq!(serves(path, &Method::HEAD), [Operator, Reader], "{path}");
            for method in [Method::POST, Method::DELETE, Method::PUT] {
                assert_eq!(serves(path, &method), [Operator], "{method} {path}");
            }
        }
        for path in [
            "/v1/ice-servers",
            "/v1/turn",
            "/v1/snapshot",
            "/v1/self-test/tickets",
        ] {
            assert_eq!(serves(path, &Method::POST), [Operator, Subject], "{path}");
        }
        assert_eq!(serves("/v1/self-test/ice-servers", &Method::POST), all);
        for path in [
            "/v1/relays/i-1/drain",
            "/v1/relays/i-1/keep",
            "/v1/revocations",
            "/v1/revocations/users/a",
            "/v1/fleet/",
            "//live",
            "/live/",
            "/Metrics",
            "/v1/assets/page.js",
            "/%2e",
            "",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert_eq!(serves(path, &method), [Operator], "{method} {path}");
            }
        }
    }
}
