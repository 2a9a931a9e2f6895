//! The listeners over real loopback sockets, with TLS clients and with bytes made by hand.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod admission;
mod certificates;
mod handshakes;
mod hello;
mod protocols;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::runtime::Runtime;

use super::fixtures::{self, TestCertificate};
use super::tls::{Profile, TlsSettings};
use super::{Established, Front, FrontCounters, FrontLimits, ListenTransport, Listener};
use crate::self_check::SelfCheckSources;

const NAME: &str = "turn.example.org";

/// A Binding request without attributes.
const BINDING: [u8; 20] = [
    0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
];

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A front with one listener, and what it delivers.
struct Relay {
    front: Front,
    address: SocketAddr,
    delivered: Receiver<Established>,
    certificate: TestCertificate,
    settings: Arc<TlsSettings>,
    own: SelfCheckSources,
    _runtime: Runtime,
}

impl Relay {
    fn new(transport: ListenTransport) -> Self {
        Self::with(transport, Profile::Modern, FrontLimits::default())
    }

    fn with(transport: ListenTransport, profile: Profile, limits: FrontLimits) -> Self {
        let certificate = fixtures::certificate(NAME);
        let settings = fixtures::settings_with(profile, std::slice::from_ref(&certificate));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (deliver, delivered) = channel();
        let deliver = Mutex::new(deliver);
        let deliver = Arc::new(move |established| {
            deliver
                .lock()
                .unwrap()
                .send(established)
                .unwrap_or_default()
        });
        let own = SelfCheckSources::default();
        let front = Front::new(limits, Some(Arc::clone(&settings)), own.clone(), deliver);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        {
            let _inside = runtime.enter();
            front.serve(Listener { transport, socket }).unwrap();
        }
        Self {
            front,
            address,
            delivered,
            certificate,
            settings,
            own,
            _runtime: runtime,
        }
    }

    fn counters(&self) -> &FrontCounters {
        self.front.counters()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn client_config(&self) -> ClientConfig {
        fixtures::client_config(&[&self.certificate])
    }

    fn tls(&self, config: &ClientConfig) -> TlsClient {
        StreamOwned::new(fixtures::client(config, NAME), self.connect())
    }

    fn delivered(&self) -> Established {
        self.delivered
            .recv_timeout(Duration::from_secs(10))
            .unwrap()
    }

    fn nothing_is_delivered(&self) {
        assert_eq!(
            self.delivered
                .recv_timeout(Duration::from_millis(20))
                .unwrap_err(),
            RecvTimeoutError::Timeout
        );
    }

    /// A client comes through with TLS and says its first message.
    fn serves(&self, config: &ClientConfig) -> (TlsClient, Established) {
        let mut client = self.tls(config);
        client.write_all(&BINDING).unwrap();
        let established = self.delivered();
        assert_eq!(established.early, BINDING);
        (client, established)
    }
}

/// Everything until the relay ends the connection, orderly or not.
fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Waits until `reached`; gauges follow events a little later.
fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{what} within ten seconds"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
