//! `GET /` and what belongs to it: the dashboard, from this program alone.
//!
//! Responsible for the files of pages and for the headers that keep a page to itself. Not responsible for what is shown: the
//! page asks for `/v1/overview`, as any other reader does, and has nothing of the fleet in it.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing from elsewhere, nothing to elsewhere, and in nobody's frame.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The dashboard's files: where, what and its text.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("pages/dashboard/index.html")),
    (
        "/assets/dashboard/page.css",
        CSS,
        include_str!("pages/dashboard/page.css"),
    ),
    (
        "/assets/dashboard/icon.svg",
        SVG,
        include_str!("pages/dashboard/icon.svg"),
    ),
    (
        "/assets/dashboard/page.js",
        SCRIPT,
        include_str!("pages/dashboard/page.js"),
    ),
    (
        "/assets/dashboard/fleet.js",
        SCRIPT,
        include_str!("pages/dashboard/fleet.js"),
    ),
    (
        "/assets/dashboard/chart.js",
        SCRIPT,
        include_str!("pages/dashboard/chart.js"),
    ),
    (
        "/assets/dashboard/parts.js",
        SCRIPT,
        include_str!("pages/dashboard/parts.js"),
    ),
];

/// The routes of the dashboard.
pub(super) fn dashboard<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .into_iter()
        .fold(Router::new(), |routes, (path, kind, text)| {
            routes.route(path, get(async move || file(kind, text)))
        })
}

/// A page, or what belongs to one.
pub(super) fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // An upgraded controller's page must not run with yesterday's script.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a relay or a provider calls itself can be anything; a text that is set as text is never read as markup.
    #[test]
    fn no_script_of_the_dashboard_makes_markup_or_code_of_a_text() {
        let mut scripts = 0;
        for (path, kind, text) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "createContextualFragment",
                "srcdoc",
                "eval(",
                "Function(",
                "localStorage",
            ] {
                assert!(!text.contains(word), "{path}: {word}");
            }
            scripts += usize::from(kind == SCRIPT);
        }
        assert_eq!(scripts, 4);
    }

    #[test]
    fn every_file_that_the_dashboard_names_is_there_and_none_is_elsewhere() {
        let paths: Vec<&str> = FILES.iter().map(|(path, _, _)| *path).collect();
        for (path, _, text) in FILES {
            for (at, _) in text.match_indices("\"/assets/") {
                let name = text[at + 1..].split('"').next().unwrap_or_default();
                assert!(paths.contains(&name), "{path} names {name}");
            }
            for (at, _) in text.match_indices("from \"./") {
                let name = text[at + 8..].split('"').next().unwrap_or_default();
                let name = format!("/assets/dashboard/{name}");
                assert!(paths.contains(&name.as_str()), "{path} imports {name}");
            }
            // The name of SVG is an address that nobody asks.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("//www.") && !text.contains("https:"),
                "{path}"
            );
            assert!(
                !text.contains(" style=\"") && !text.contains(" onclick"),
                "{path}"
            );
        }
    }
}
