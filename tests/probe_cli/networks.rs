//! What stands between a client and a relay: proxies, servers of other protocols, and routers that drop or change packets.
//!
//! All on loopback, each in threads of its own that end with the test's process.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that says this to whoever has said something, and hangs up.
pub(crate) fn speaks(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

/// An HTTP proxy that answers CONNECT with this status (0: with no HTTP at all), and tunnels if it is 200. What it was
/// asked for is gathered.
pub(crate) fn proxy(status: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let gathered = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let gathered = Arc::clone(&gathered);
            thread::spawn(move || serve(stream.unwrap(), status, &gathered));
        }
    });
    (address, seen)
}

fn serve(mut client: TcpStream, status: u16, seen: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let authority = request.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(authority.clone());
    if status == 0 {
        let _ = client.write_all(b"220 mail.example ESMTP\r\n");
        return;
    }
    let _ = client.write_all(format!("HTTP/1.1 {status} Answer\r\nVia: test\r\n\r\n").as_bytes());
    if status != 200 {
        return;
    }
    // `localhost` may stand for [::1] too, where the relay does not listen.
    let port = authority.rsplit(':').next().unwrap();
    let Ok(server) = TcpStream::connect(format!("127.0.0.1:{port}")) else {
        return;
    };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(from, to));
    copy(server, client);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A router for UDP that passes requests and answers, and those payloads that `passes` lets through by their number. It
/// knows nothing of DSCP: everything leaves as Best Effort.
pub(crate) struct Middle {
    pub(crate) address: SocketAddr,
}

impl Middle {
    pub(crate) fn start(relay: SocketAddr, passes: fn(u32) -> bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || forward(&socket, relay, passes));
        Self { address }
    }
}

fn forward(socket: &UdpSocket, relay: SocketAddr, passes: fn(u32) -> bool) {
    let mut behind: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut payloads = 0;
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).unwrap();
        let datagram = &buffer[..length];
        // ChannelData, or a Send indication.
        if datagram[0] & 0xC0 == 0x40 || datagram.starts_with(&[0x00, 0x16]) {
            payloads += 1;
            if !passes(payloads) {
                continue;
            }
        }
        let upstream = behind.entry(client).or_insert_with(|| {
            let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
            upstream.connect(relay).unwrap();
            let (answers, back) = (upstream.try_clone().unwrap(), socket.try_clone().unwrap());
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length) = answers.recv(&mut buffer) {
                    let _ = back.send_to(&buffer[..length], client);
                }
            });
            upstream
        });
        let _ = upstream.send(datagram);
    }
}
