//! Instance metadata for relays on this host: their zone, and whether somebody is ending them.
//!
//! Not responsible for metadata that is wrong in form (`tests/system/metadata.rs`).

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Where each relay asks, at its own address.
pub(crate) const PORT: u16 = 1338;

/// The metadata of one relay, until the test ends.
#[derive(Clone)]
pub(crate) struct Metadata {
    address: Ipv4Addr,
    zone: &'static str,
    state: Arc<Mutex<&'static str>>,
}

impl Metadata {
    pub(crate) fn tell(address: Ipv4Addr, zone: &'static str) -> Self {
        let told = Self {
            address,
            zone,
            state: Arc::new(Mutex::new("InService")),
        };
        let telling = told.clone();
        let listener = TcpListener::bind((address, PORT)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                telling.answer(&stream);
            }
        });
        told
    }

    /// The state of its life that is aimed at.
    pub(crate) fn set_state(&self, state: &'static str) {
        *self.state.lock().unwrap() = state;
    }

    fn answer(&self, mut stream: &TcpStream) {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let asked = head.first().and_then(|line| line.split(' ').nth(1));
        let found = self.item(asked.unwrap_or_default().trim_start_matches("/latest/"));
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", String::new()),
        };
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }

    fn item(&self, path: &str) -> Option<String> {
        let address = self.address.to_string();
        let associations = "meta-data/network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/";
        Some(match path {
            "api/token" => "token".to_owned(),
            "meta-data/placement/availability-zone-id" => self.zone.to_owned(),
            "meta-data/instance-id" => "i-0123456789abcdef0".to_owned(),
            "meta-data/network/interfaces/macs/" => "0a:00:00:00:00:01/".to_owned(),
            "meta-data/autoscaling/target-lifecycle-state" => {
                (*self.state.lock().unwrap()).to_owned()
            }
            path if path
                .strip_prefix(associations)
                .is_some_and(|rest| rest.is_empty() || rest == address) =>
            {
                address
            }
            _ => return None,
        })
    }
}
