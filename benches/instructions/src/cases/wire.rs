//! The codec: parsing, fields, writing, integrity and fingerprints.

use std::hint::black_box;
use std::net::SocketAddr;

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::wire::stream::{Step, next_frame};
use taciturn_protocol::wire::{Class, Framed, Method, Writer, channel_data, indication};

use super::messages::{
    CHANNEL, LENGTH, PAYLOAD, channel_message, message, send_indication, transaction,
};
use crate::count::Counter;

const STEPS: usize = 400;
const KEY: [u8; 16] = [7; 16];
const KEY_SHA256: [u8; 32] = [7; 32];
const NONCE: &[u8] = b"obMatJos2wAAAZUDjBwAAAAH012345678901234567890AB";

/// Runs the cases.
pub(super) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    channel_data_and_indications(counter)?;
    parsing(counter)?;
    writing(counter)?;
    integrity(counter)
}

fn channel_data_and_indications(counter: &mut Counter) -> anyhow::Result<()> {
    let channel = channel_message(CHANNEL);
    counter.each("wire: parse ChannelData", &[&channel[..]; STEPS], |bytes| {
        channel_data::parse(bytes).is_ok_and(|message| message.payload.len() == PAYLOAD)
    })?;
    counter.each(
        "wire: write ChannelData header",
        &[CHANNEL; STEPS],
        |number| {
            let mut header = [0; channel_data::HEADER_LEN];
            channel_data::write_header(&mut header, *number, LENGTH);
            black_box(header)[0] == 0x40
        },
    )?;
    let peer = SocketAddr::from(([9, 0, 0, 1], 50_000));
    let send = send_indication(peer);
    counter.each(
        "wire: parse Send indication",
        &[&send[..]; STEPS],
        |bytes| indication::parse_send(bytes).is_ok_and(|message| message.data.len() == PAYLOAD),
    )?;
    counter.each(
        "wire: write Data indication header",
        &[peer; STEPS],
        |peer| {
            let mut header = [0; indication::DATA_HEADER_MAX];
            let written =
                indication::write_data_header(&mut header, transaction(1), *peer, PAYLOAD);
            black_box(&header);
            written.is_some()
        },
    )?;
    let run = [channel.clone(), channel.clone()].concat();
    counter.each(
        "wire: next frame of a stream",
        &[&run[..]; STEPS],
        |bytes| {
            let step = next_frame(bytes, ChannelRange::Rfc8656);
            matches!(step, Ok(Step::Frame { total, .. }) if total == channel.len())
        },
    )
}

/// The attributes that a client of today sends with Allocate.
fn allocate(writer: &mut Writer<'_>) {
    writer.requested_transport(17);
    writer.lifetime(600);
    credentials(writer);
}

fn credentials(writer: &mut Writer<'_>) {
    writer.username(b"1700003600:alice");
    writer.realm(b"turn.example.org");
    writer.nonce(NONCE);
}

fn parsing(counter: &mut Counter) -> anyhow::Result<()> {
    let request = |method, attributes: &dyn Fn(&mut Writer<'_>)| {
        message(Class::Request, method, transaction(2), |writer| {
            attributes(writer);
        })
    };
    let binding = request(Method::Binding, &|_| {});
    let marked = request(Method::Binding, &|writer| writer.fingerprint());
    let refresh = request(Method::Refresh, &|writer| {
        writer.lifetime(600);
        credentials(writer);
        writer.message_integrity(&KEY);
    });
    let allocate = request(Method::Allocate, &|writer| {
        allocate(writer);
        writer.message_integrity(&KEY);
    });
    let cases = [
        ("wire: parse Binding request", &binding),
        ("wire: parse Binding request, FINGERPRINT", &marked),
        ("wire: parse Refresh request", &refresh),
        ("wire: parse Allocate request", &allocate),
    ];
    for (name, bytes) in cases {
        counter.each(name, &[&bytes[..]; STEPS], |bytes| {
            Framed::parse(bytes).is_ok()
        })?;
    }
    let framed = Framed::parse(&allocate)?;
    counter.each(
        "wire: fields of an Allocate request",
        &[framed; STEPS],
        |framed| {
            let (credentials, attributes) = (framed.credentials(), framed.unauthenticated());
            black_box((credentials.name, credentials.realm, credentials.nonce));
            let asked = (attributes.requested_transport(), attributes.lifetime());
            asked == (Some(Ok(17)), Some(Ok(600)))
        },
    )?;
    counter.each(
        "wire: all attributes of an Allocate request",
        &[framed; STEPS],
        |framed| {
            black_box(framed)
                .unauthenticated()
                .iter()
                .map(black_box)
                .count()
                == 5
        },
    )
}

fn writing(counter: &mut Counter) -> anyhow::Result<()> {
    let client = SocketAddr::from(([100, 0, 0, 1], 4000));
    let relayed = SocketAddr::from(([203, 0, 113, 1], 50_000));
    let mut write = |name: &str, method, attributes: &dyn Fn(&mut Writer<'_>)| {
        let mut buffer = [0; 1536];
        counter.each(name, &[method; STEPS], |method| {
            let mut writer = Writer::new(&mut buffer, Class::Success, *method, transaction(3));
            attributes(&mut writer);
            writer.finish().is_ok()
        })
    };
    write("wire: write Binding success", Method::Binding, &|writer| {
        writer.xor_mapped_address(client);
    })?;
    write(
        "wire: write Binding success, FINGERPRINT",
        Method::Binding,
        &|writer| {
            writer.xor_mapped_address(client);
            writer.fingerprint();
        },
    )?;
    write(
        "wire: write Refresh success, unsigned",
        Method::Refresh,
        &|writer| {
            writer.lifetime(600);
        },
    )?;
    let allocated = |writer: &mut Writer<'_>| {
        writer.xor_relayed_address(relayed);
        writer.lifetime(600);
        writer.xor_mapped_address(client);
    };
    write(
        "wire: write Allocate success, unsigned",
        Method::Allocate,
        &allocated,
    )?;
    write(
        "wire: write Allocate success, SHA-1",
        Method::Allocate,
        &|writer| {
            allocated(writer);
            writer.message_integrity(&KEY);
        },
    )?;
    write(
        "wire: write Allocate success, SHA-256",
        Method::Allocate,
        &|writer| {
            allocated(writer);
            writer.message_integrity_sha256(&KEY_SHA256);
        },
    )?;
    write("wire: write 401", Method::Allocate, &|writer| {
        writer.error_code(401, "Unauthenticated");
        writer.realm(b"turn.example.org");
        writer.nonce(NONCE);
        writer.password_algorithms(&[2, 1]);
    })
}

fn integrity(counter: &mut Counter) -> anyhow::Result<()> {
    let sha1 = message(Class::Request, Method::Allocate, transaction(4), |writer| {
        allocate(writer);
        writer.message_integrity(&KEY);
    });
    let sha256 = message(Class::Request, Method::Allocate, transaction(4), |writer| {
        allocate(writer);
        writer.message_integrity_sha256(&KEY_SHA256);
    });
    let cases: [(&str, &[u8], &[u8]); 2] = [
        ("wire: verify Allocate request, SHA-1", &sha1, &KEY),
        (
            "wire: verify Allocate request, SHA-256",
            &sha256,
            &KEY_SHA256,
        ),
    ];
    for (name, bytes, key) in cases {
        let framed = Framed::parse(bytes)?;
        counter.each(name, &[framed; STEPS], |framed| {
            framed.verify(key).is_some()
        })?;
    }
    Ok(())
}
