//! The description of the API beside its routes: nothing is described that is not there, and nothing is there that is not.
//!
//! Not responsible for what answers look like: that is asked of a running controller (`tests/interop/test_openapi.py`).

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::api::openapi::TEXT;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every path that is routed, by the source: axum does not tell.
fn routed() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("api.rs")];
    let below = std::fs::read_dir(source.join("api")).unwrap();
    files.extend(below.map(|entry| entry.unwrap().path()));
    let mut paths = BTreeSet::new();
    for file in files {
        let is_code = file.extension().is_some_and(|kind| kind == "rs");
        if !is_code || file.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        // `.route("/live", ..)`, and the tables of pages: `("/", ..)`.
        for after in text.split('(').skip(1) {
            let path = after.trim_start().strip_prefix('"');
            let path = path.and_then(|rest| rest.split_once('"'));
            let is_whole =
                |path: &&str| path.starts_with('/') && (*path == "/" || !path.ends_with('/'));
            paths.extend(
                path.map(|(path, _)| path)
                    .filter(is_whole)
                    .map(str::to_owned),
            );
        }
    }
    paths
}

fn described() -> Value {
    serde_json::from_str(TEXT).unwrap()
}

/// Pages' files have one path in the description, with all of them in its parameters.
fn template(path: &str, description: &Value) -> String {
    let Some(rest) = path.strip_prefix("/assets/") else {
        return path.to_owned();
    };
    let template = "/assets/{page}/{file}";
    let (page, file) = rest.split_once('/').unwrap();
    let parameters = &description["paths"][template]["get"]["parameters"];
    for (parameter, part) in [page, file].into_iter().enumerate() {
        let known = parameters[parameter]["schema"]["enum"].as_array().unwrap();
        assert!(
            known.contains(&part.into()),
            "docs/openapi.json: {path}: {part} is not described"
        );
    }
    template.to_owned()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let description = described();
    let there: BTreeSet<String> = routed()
        .iter()
        .map(|path| template(path, &description))
        .collect();
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<String> = paths.keys().cloned().collect();
    let missing: Vec<_> = there.difference(&described).collect();
    let gone: Vec<_> = described.difference(&there).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/openapi.json: not described: {missing:?}; not there: {gone:?}"
    );
    assert!(there.len() > 10, "{there:?}");
}

#[tokio::test]
async fn what_can_be_done_to_a_path_is_what_is_described() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![relay("i-1", Phase::Ready)]), clock, None).await;
    let description = described();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let example = path
            .replace("{id}", "i-1")
            .replace("{user}", "nobody")
            .replace("{key_id}", "none")
            .replace("{page}", "self-test")
            .replace("{file}", "page.js");
        // A path may have parameters that no router knows the place of.
        assert!(
            !example.contains('{'),
            "{path}: say here what stands for its parameters"
        );
        for method in METHODS {
            let (code, body) = served
                .ask(&method.to_uppercase(), &example, JSON, "{}")
                .await;
            let says = methods.get(method).is_some();
            assert_eq!(says, code != 405, "{method} {path}: {code} {body}");
            let no_path = code == 404 && body.contains("; there are ");
            assert!(!says || !no_path, "{method} {path}: {code} {body}");
        }
    }
}

/// Whoever reads it finds what it refers to, and a name for each operation.
#[test]
fn the_description_is_whole() {
    let description = described();
    assert_eq!(description["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect(&description, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(operation) = methods.get(method) else {
                continue;
            };
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} twice");
            for code in ["403", "421"] {
                assert!(
                    operation["responses"][code].is_object(),
                    "{method} {path}: {code}, which the door answers"
                );
            }
        }
    }
}

fn collect<'d>(value: &'d Value, references: &mut Vec<&'d str>) {
    match value {
        Value::Object(keys) => {
            references.extend(keys.get("$ref").and_then(Value::as_str));
            keys.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_description_is_served_to_everybody() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![]), clock, Some(TOKEN)).await;
    let (code, body) = served.ask("GET", "/v1/openapi.json", "", "").await;
    assert_eq!((code, body.as_str()), (200, TEXT));
}
