use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// As a relay answers.
fn status() -> Value {
    json!({
        "phase": "draining",
        "version": "0.1.0",
        "boot_id": "0f0e0d0c",
        "ready": false,
        "not_ready_because": ["it drains"],
        "sequence": 1234,
        "time": 1_790_000_000,
        "zone_id": "apse2-az1",
        "load": {
            "allocations": 12, "permissions": 30, "channels": 20, "connections": 4,
            "ports_free": 100, "ports_used": 14, "ports_quarantined": 2,
            "packets_per_second": 5000.5, "bits_per_second": 4e7, "busiest_core": 0.25,
        },
        "capacity": {
            "allocations": 4000, "ports": 16384, "connections": 1000, "workers": 2,
            "packets_per_second": null, "bits_per_second": null, "busiest_core": 0.9,
        },
        "config": {"loaded": 1, "reload_failed": 0},
        "utilisation": 0.31,
        "utilisation_parts": {"packets": 0.31},
        "full_now": true,
        "overloaded": false,
        "epoch": 1_789_999_999,
        "drain": {
            "source": "operator", "started": 1_789_999_000, "deadline": 1_790_005_000, "reason": "fewer are needed",
            "epoch": 1_789_999_999, "deadline_passed": false, "allocations_remaining": 12, "idle_allocations": 3,
            "stopping": false, "survives_restart": true,
        },
        "endpoints": {
            "addresses": ["203.0.113.7", "2001:db8::7"],
            "listeners": [{"transport": "udp", "port": 3478}, {"transport": "auto", "port": 443}],
            "tls_names": ["relay-7.example.org"],
        },
    })
}

fn read(value: &Value) -> Result<Report, ReportError> {
    report(value.to_string().as_bytes())
}

#[test]
fn a_status_is_read_as_the_relay_means_it() {
    let report = read(&status()).unwrap();
    assert_eq!(report.phase, Phase::Draining);
    assert_eq!(report.sequence, 1234);
    assert_eq!(report.zone_id.unwrap().as_str(), "apse2-az1");
    assert_eq!(report.load.packets, Some(5000.5));
    assert_eq!(report.load.ports, Some(14.0));
    assert_eq!(report.load.core, Some(0.25));
    assert_eq!(report.capacity.ports, Some(16384.0));
    assert_eq!(report.capacity.packets, None);
    assert_eq!(report.epoch, 1_789_999_999);
    assert!(report.full_now);
    let drain = report.drain.unwrap();
    assert_eq!(drain.deadline, UnixTime::from_secs(1_790_005_000));
    assert_eq!(
        (drain.allocations_remaining, drain.idle_allocations),
        (12, 3)
    );
}

#[test]
fn a_relay_says_where_clients_reach_it() {
    let endpoints = read(&status()).unwrap().endpoints;
    assert_eq!(
        endpoints.addresses,
        ["203.0.113.7", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap())
    );
    let listening = |transport, port| Listening {
        transport,
        port: NonZeroU16::new(port).unwrap(),
    };
    let expected = [
        listening(Transport::Udp, 3478),
        listening(Transport::Auto, 443),
    ];
    assert_eq!(endpoints.listeners, expected);
    assert!(endpoints.certifies("relay-7.example.org"));
    let mut old = status();
    old.as_object_mut().unwrap().remove("endpoints");
    assert_eq!(read(&old).unwrap().endpoints, Endpoints::default());
}

#[test]
fn a_relay_says_which_revocations_are_in_force() {
    let mut status = status();
    assert_eq!(read(&status).unwrap().revocations, None);
    status["revocations"] = json!({"epoch": 7, "version": 3, "users": 1, "survives_restart": true});
    let stamp = read(&status).unwrap().revocations.unwrap();
    assert_eq!((stamp.epoch, stamp.version), (7, 3));
    status["revocations"]["version"] = json!(u64::MAX);
    assert_eq!(read(&status).unwrap().revocations, None);
}

/// nothing that a relay says of its endpoints can lead a URL elsewhere.
#[test]
fn what_is_no_endpoint_is_passed_over() {
    let mut odd = status();
    odd["endpoints"] = json!({
        "addresses": [
            "0.0.0.0", "0.1.2.3", "169.254.169.254", "240.0.0.1", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1", "::ffff:192.0.2.1", "192.0.2.1:80",
            "192.0.2.1?transport=udp", "relay.example.org", "", "192.0.2.1", "192.0.2.1",
        ],
        "listeners": [
            {"transport": "udp", "port": 0}, {"transport": "sctp", "port": 3478}, {"transport": "udp ", "port": 1},
            {"transport": "tcp", "port": 3478, "newer": true},
        ],
        "tls_names": ["a b", "a/b", "a@b.org", "10.0.0.1", "Upper.example.org", "a.example.org?x", "", "good.example.org"],
        "newer": 1,
    });
    let endpoints = read(&odd).unwrap().endpoints;
    assert_eq!(
        endpoints.addresses,
        ["192.0.2.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(endpoints.listeners.len(), 1);
    assert_eq!(endpoints.tls_names, ["good.example.org"]);
    let mut many = status();
    many["endpoints"]["addresses"] = (1..=200).map(|last| format!("192.0.2.{last}")).collect();
    assert_eq!(read(&many).unwrap().endpoints.addresses.len(), 16);
    for wrong in [
        json!(7),
        json!({"addresses": "192.0.2.1"}),
        json!({"listeners": [{"transport": "udp", "port": 70000}]}),
    ] {
        let mut refused = status();
        refused["endpoints"] = wrong;
        assert!(matches!(read(&refused), Err(ReportError::Form(_))));
    }
}

/// Scaling rules: what is not known is not zero.
#[test]
fn what_an_older_relay_does_not_say_is_not_known() {
    let mut old = status();
    let fields = old.as_object_mut().unwrap();
    for name in [
        "capacity",
        "utilisation",
        "epoch",
        "drain",
        "zone_id",
        "full_now",
    ] {
        fields.remove(name);
    }
    fields.insert("load".to_owned(), json!({"allocations": 3}));
    let report = read(&old).unwrap();
    assert_eq!(report.load.packets, None);
    assert_eq!(report.load.allocations, Some(3.0));
    assert_eq!(report.capacity, Loads::default());
    assert_eq!(
        (report.utilisation, report.drain, report.zone_id),
        (None, None, None)
    );
}

#[test]
fn nonsense_is_refused_as_a_whole() {
    let cases: [(&str, Value); 14] = [
        ("/load/allocations", json!(-1)),
        ("/load/packets_per_second", json!(1e300)),
        ("/load/busiest_core", json!("half")),
        ("/capacity/ports", json!(-0.5)),
        ("/utilisation", json!(-0.1)),
        ("/sequence", json!(-1)),
        ("/sequence", json!(1.5)),
        ("/time", json!(1_790_000_000_000_u64)),
        ("/drain/deadline", json!(1_790_000_000_000_u64)),
        ("/drain/allocations_remaining", json!(-3)),
        ("/boot_id", json!("")),
        ("/boot_id", json!("x".repeat(300))),
        ("/phase", json!("lost")),
        ("/zone_id", json!("two words")),
    ];
    for (pointer, value) in cases {
        let mut wrong = status();
        *wrong.pointer_mut(pointer).unwrap() = value.clone();
        assert!(read(&wrong).is_err(), "{pointer} = {value}");
    }
    for name in ["phase", "boot_id", "ready", "sequence", "time", "load"] {
        let mut lacks = status();
        lacks.as_object_mut().unwrap().remove(name);
        assert!(read(&lacks).is_err(), "{name}");
    }
    for text in ["", "null", "[]", "NaN", "{\"phase\":\"ready\"", "\u{0}"] {
        assert!(report(text.as_bytes()).is_err(), "{text:?}");
    }
    assert_eq!(
        report(&vec![b' '; REPORT_BYTES + 1]),
        Err(ReportError::Long)
    );
}

#[test]
fn a_status_that_is_cut_off_anywhere_is_refused() {
    let whole = status().to_string();
    for length in 0..whole.len() {
        assert!(report(&whole.as_bytes()[..length]).is_err(), "{length}");
    }
}

#[test]
fn texts_are_short_and_break_no_line() {
    let mut wordy = status();
    let long = format!("one\ntwo\u{202e}three{}", "\u{e4}".repeat(40_000 / 2));
    *wordy.pointer_mut("/not_ready_because").unwrap() = json!(vec!["x"; 1000]);
    *wordy.pointer_mut("/drain/reason").unwrap() = json!(long);
    let report = read(&wordy).unwrap();
    assert_eq!(report.not_ready_because.len(), MOST_REASONS);
    let reason = report.drain.unwrap().reason;
    assert!(
        reason.len() <= TEXT_BYTES && reason.starts_with("one two three"),
        "{reason}"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,12}", inner, 0..6)
                .prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    /// Whatever stands in any field: it is refused, or every number that is kept can be.
    #[test]
    fn no_field_with_anything_in_it_gets_a_number_in_that_cannot_be(
        field in 0_usize..40, value in any_json(),
    ) {
        let mut changed = status();
        let mut pointers = Vec::new();
        for (name, inner) in changed.as_object().unwrap() {
            pointers.push(format!("/{name}"));
            if let Some(inner) = inner.as_object() {
                pointers.extend(inner.keys().map(|key| format!("/{name}/{key}")));
            }
        }
        let pointer = &pointers[field % pointers.len()];
        *changed.pointer_mut(pointer).unwrap() = value;
        if let Ok(report) = read(&changed) {
            for loads in [report.load, report.capacity] {
                for dimension in crate::fleet::Dimension::ALL {
                    prop_assert!(loads.of(dimension).is_none_or(|value| (0.0..=MOST).contains(&value)));
                }
            }
            prop_assert!(report.utilisation.is_none_or(|value| (0.0..=MOST).contains(&value)));
            prop_assert!(report.boot_id.len() <= TEXT_BYTES && !report.boot_id.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = report(&bytes);
    }

    #[test]
    fn no_bytes_that_are_changed_make_it_panic(place in 0_usize..900, byte in any::<u8>()) {
        let mut text = status().to_string().into_bytes();
        let length = text.len();
        text[place % length] = byte;
        let _ = report(&text);
    }
}
